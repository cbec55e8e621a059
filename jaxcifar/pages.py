"""The pages that come with the package: inside it where it is installed, else beside it."""

import pathlib

from jaxcifar.errors import UserError

NAME = "configs"


def folder() -> pathlib.Path:
    """Returns the folder of the pages."""
    package = pathlib.Path(__file__).parent
    return next(f for f in (package / NAME, package.parent / NAME) if f.is_dir())


def find(file: str) -> pathlib.Path:
    """Returns the user's own file, or the page that comes with the package: "configs/adaptive.py".

    Raises:
      UserError: there is neither.
    """
    path = pathlib.Path(file)
    if path.is_file():
        return path
    ours = {pathlib.Path(NAME, page.name): page for page in sorted(folder().glob("*.py"))}
    if path in ours:
        return ours[path]
    raise UserError(
        f"--config: no file {path}; the pages that come with jaxcifar: {', '.join(map(str, ours))}"
    )
