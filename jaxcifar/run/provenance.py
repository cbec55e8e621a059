"""What results depend on besides their config: versions and commit."""

import functools
import os
import pathlib
import platform
import re
import subprocess
from importlib import metadata

from jaxcifar.errors import UserError

VARIABLE = "JAXCIFAR_COMMIT"
COMMIT = re.compile(r"([0-9a-f]{40}(\+dirty)?)?")  # as in records; "" if unknown
PACKAGES = ("jaxcifar", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def version(package: str) -> str:
    """Returns a package's version, or "not installed" if it runs from a checkout."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def commit() -> str:
    """Returns the commit of the running code, with "+dirty" if it has changes; "" if unknown.

    Without .git, as in a container, the environment variable JAXCIFAR_COMMIT gives the commit. The
    result is cached, so a command that calls this at its start records the code that it runs.

    Raises:
      UserError: JAXCIFAR_COMMIT is not a commit.
    """
    return commit_of(pathlib.Path(__file__).parents[2])


def commit_of(root: pathlib.Path) -> str:
    """Returns the commit of the checkout in `root`, as `commit` does.

    Only changes in jaxcifar/ and configs/ count, including untracked files that are not ignored.
    """
    if not (root / ".git").exists():
        return _commit_from_environment()
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--", "jaxcifar", "configs")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+dirty" if dirty else "")


def _commit_from_environment() -> str:
    commit = os.environ.get(VARIABLE, "")
    if not COMMIT.fullmatch(commit):
        raise UserError(f"{VARIABLE} is {commit!r}; expected the 40 hexadecimal digits of a commit")
    return commit


def _git(root: pathlib.Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
