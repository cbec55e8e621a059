"""A config: its page, read; its keys at the top; its JSON."""

import json
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from ml_collections import ConfigDict

from jaxcifar import pages
from jaxcifar.errors import UserError
from jaxcifar.signature import Positive, Where, complete, parameters


class Config(NamedTuple):
    """The keys at the top of a config; those of its sections are found by `schema`."""

    seed: Annotated[int, Where(lambda seed: 0 <= seed < 2**31, "at least 0 and below 2147483648")]
    num_epochs: Positive
    batch_size: Positive
    compute_dtype: str
    accumulate_steps: Positive
    data: Mapping
    augment: Mapping
    model: Mapping
    loss: Mapping
    optimizer: Mapping
    schedule: Mapping
    evaluation: Mapping = {}  # neutral: each epoch, an image as it is
    log_norms: bool = False  # of the gradient and of the weights, among the metrics


def load(page: str) -> ConfigDict:
    """Returns the config of `page`, "FILE.py" or "FILE.py:VARIANT", locked.

    Raises:
      UserError: there is no such file, whatever goes wrong in it ("FILE.py:LINE: what"), or it
        makes no config.
    """
    file, _, variant = page.partition(":")
    path = pages.find(file)
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
        raise UserError(f"{_place(error, file)}: {_told(error)}") from error
    if not isinstance(config, ConfigDict):
        found = type(config).__name__
        raise UserError(f"{file}: get_config returns {found}, not an ml_collections.ConfigDict")
    return check(config)


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


def _told(error: Exception) -> str:
    """Returns an error in a line, "NameError: …"; a ValueError is what a page itself raises."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    line = " ".join(text.split())
    return line if isinstance(error, ValueError) and line else f"{type(error).__name__}: {line}"


def check(config: ConfigDict) -> ConfigDict:
    """Returns `config`, locked and known to have the top-level keys of `Config`."""
    complete("config", config.to_dict(), parameters(Config))
    return config.lock()


def name(page: str) -> str:
    """Returns the short name of a page: "configs/simple_cnn.py:l1" -> "simple_cnn_l1"."""
    file, _, variant = page.partition(":")
    return "_".join(filter(None, (pathlib.Path(file).stem, variant)))


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text (tuples become lists)."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote."""
    return check(ConfigDict(json.loads(text)))
