"""Config files: found, executed, named.

A config file is Python with a function `get_config(variant)`. Those that come with the package
lie inside it where it is installed, else beside it.
"""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from jaxcifar.config.schema import check_top_level
from jaxcifar.errors import UserError

FOLDER = "configs"


def config_folder() -> pathlib.Path:
    """Returns the folder of the pages."""
    package = pathlib.Path(__file__).parents[1]
    return next(f for f in (package / FOLDER, package.parent / FOLDER) if f.is_dir())


def find_config(file: str) -> pathlib.Path:
    """Returns the user's own file, or the page that comes with the package: "configs/adaptive.py".

    Raises:
      UserError: there is neither.
    """
    path = pathlib.Path(file)
    if path.is_file():
        return path
    ours = {pathlib.Path(FOLDER, page.name): page for page in sorted(config_folder().glob("*.py"))}
    if path in ours:
        return ours[path]
    raise UserError(
        f"--config: no file {path}; the pages that come with jaxcifar: {', '.join(map(str, ours))}"
    )


def run_config_file(page: str) -> ConfigDict:
    """Returns the config of `page`, "FILE.py" or "FILE.py:VARIANT", locked.

    Raises:
      UserError: there is no such file, whatever goes wrong in it ("FILE.py:LINE: what"), or it
        makes no config.
    """
    file, _, variant = page.partition(":")
    path = find_config(file)
    file = str(path)
    names: dict[str, Any] = {"__name__": path.stem, "__file__": file}
    try:
        exec(compile(path.read_bytes(), file, "exec"), names)
        if "get_config" not in names:
            raise UserError(f"{file} has no function get_config, which a page needs")
        config = names["get_config"](*filter(None, [variant]))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{_place(error, file)}: {_one_line(error)}") from error
    if not isinstance(config, ConfigDict):
        found = type(config).__name__
        raise UserError(f"{file}: get_config returns {found}, not an ml_collections.ConfigDict")
    return check_top_level(config)


def config_name(page: str) -> str:
    """Returns the short name of a page: "configs/simple_cnn.py:l1" -> "simple_cnn_l1"."""
    file, _, variant = page.partition(":")
    return "_".join(filter(None, (pathlib.Path(file).stem, variant)))


def _place(error: Exception, file: str) -> str:
    """Returns where in the page an error came up, "FILE:LINE", or "FILE" where that is unknown."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}"
    lines, trace = [], error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == file:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f"{file}:{lines[-1]}" if lines else file


def _one_line(error: Exception) -> str:
    """Returns an error in a line, "NameError: …"; a ValueError is what a page itself raises."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    line = " ".join(text.split())
    return line if isinstance(error, ValueError) and line else f"{type(error).__name__}: {line}"
