"""Finds, runs and names config files.

A config file is a Python file with a function `get_config()` or `get_config(variant)`, or the
config.json of a run. The configs that come with jaxcifar are in configs/, inside an installed
package and beside it in a checkout.
"""

import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config import fields
from jaxcifar.config.schema import check_top_level, from_json
from jaxcifar.errors import UserError

FOLDER = "configs"
RUN_FILE = "config.json"  # in the folder of a run


def config_folder() -> pathlib.Path:
    """Returns the folder of the configs that come with jaxcifar."""
    package = pathlib.Path(__file__).parents[1]
    return next(f for f in (package / FOLDER, package.parent / FOLDER) if f.is_dir())


def split_variant(name: str) -> tuple[str, str]:
    """Returns the file and the variant, or "", of "FILE" or "FILE:VARIANT".

    Both may contain colons; the file is the longest that exists.
    """
    colons = (i for i in reversed(range(len(name))) if name[i] == ":")
    for end in (len(name), *colons):
        if os.path.exists(name[:end]):
            return name[:end], name[end + 1 :]
    file, _, variant = name.partition(":")
    return file, variant


def find_config(file: str) -> pathlib.Path:
    """Returns the path of the user's own config file, of one of jaxcifar's, or of a run's config.

    "configs/adaptive.py" or "adaptive" names a config that comes with jaxcifar, and
    "checkpoints/run" names the config.json in this folder.

    Raises:
      UserError: no such file exists.
    """
    path = pathlib.Path(file)
    if path.is_file():
        return path
    ours = {pathlib.Path(FOLDER, own.name): own for own in sorted(config_folder().glob("*.py"))}
    for named in (path, pathlib.Path(FOLDER, f"{path}.py")):
        if named in ours:
            return ours[named]
    if (path / RUN_FILE).is_file():
        return path / RUN_FILE
    near = fields.nearest(path.stem, [own.stem for own in ours])
    guess = f" (did you mean {near}?)" if near else ""
    raise UserError(
        f"--config: no file {path}{guess}; configs that come with jaxcifar:"
        f" {', '.join(map(str, ours))}"
    )


def load_config_file(name: str) -> ConfigDict:
    """Returns the config of "FILE.py", "FILE.py:VARIANT" or a run, locked.

    Raises:
      UserError: the file does not exist, raises an error ("FILE.py:LINE: error"), or gives no
        config.
    """
    file, variant = split_variant(name)
    path = find_config(file)
    file = str(path)
    if path.suffix == ".json":
        if variant:
            raise UserError(f"--config={name}: {file} has no variants")
        return read_json_file(path)
    names: dict[str, Any] = {"__name__": path.stem, "__file__": file}
    try:
        exec(compile(path.read_bytes(), file, "exec"), names)
        if "get_config" not in names:
            raise UserError(f"{file} has no function get_config, which a config file needs")
        config = names["get_config"](*filter(None, [variant]))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{_place(error, file)}: {_one_line(error)}") from error
    if not isinstance(config, ConfigDict):
        found = type(config).__name__
        raise UserError(f"{file}: get_config returns {found}, not an ml_collections.ConfigDict")
    return check_top_level(config)


def config_name(name: str) -> str:
    """Returns the short name of a config: "configs/simple_cnn.py:l1" -> "simple_cnn_l1".

    The config of a run has the name of the run's folder.
    """
    file, variant = split_variant(name)
    path = pathlib.Path(file)
    folder = path.parent if path.name == RUN_FILE else path
    stem = folder.resolve().name if (folder / RUN_FILE).is_file() else path.stem
    return "_".join(filter(None, (stem, variant)))


def read_json_file(file: pathlib.Path) -> ConfigDict:
    """Returns the config in a JSON file, locked; a byte-order mark is accepted.

    Raises:
      UserError: the file cannot be read or holds no config.
    """
    try:
        return from_json(file.read_text("utf-8-sig"))
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except (AttributeError, ValueError, RecursionError) as error:  # not JSON, or not an object
        raise UserError(f"{file} is damaged: {error}; restore it or train again") from error


def _place(error: Exception, file: str) -> str:
    """Returns the line of a config file that raised an error, "FILE:LINE"; "FILE" if unknown."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}"
    lines, trace = [], error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f"{file}:{lines[-1]}" if lines else file


def _one_line(error: Exception) -> str:
    """Returns an error as one line, "NameError: …", but a ValueError without its type."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    line = " ".join(text.split())
    return line if isinstance(error, ValueError) and line else f"{type(error).__name__}: {line}"
