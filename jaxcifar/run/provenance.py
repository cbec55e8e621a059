"""What a number depends on besides its config: versions, commit, machine."""

import functools
import pathlib
import platform
import subprocess
from importlib import metadata

PACKAGES = ("jaxcifar", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def version(package: str) -> str:
    """Returns a package's version; "not installed" for one that is used from its checkout."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Returns the processor's name; "" where the system does not say it."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


@functools.cache
def commit() -> str:
    """Returns the commit of the checkout that this package is in, "+dirty" with changes, or "".

    Of when it is first asked: a command asks at its start, because the code that it runs is what
    was checked out then, whatever is committed while it runs.
    """
    return commit_of(pathlib.Path(__file__).parents[2])


def commit_of(root: pathlib.Path) -> str:
    """Returns the commit of a checkout, "+dirty" where jaxcifar/ or configs/ have changes.

    A file there that git does not know is a change; one that it ignores is not.
    """
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--", "jaxcifar", "configs")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+dirty" if dirty else "")


def _git(root: pathlib.Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
