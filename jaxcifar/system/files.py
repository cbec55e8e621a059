"""Opens files that others may have made: plain files, neither through a link nor without a limit.

A received run's folder can hold links to the user's own files, and FIFOs and devices, which block
forever or never end.
"""

import errno
import os
import pathlib
import stat
from typing import IO, Any

from jaxcifar.errors import UserError

MAX_TEXT = 2**24  # bytes
SMALL = 2**28  # bytes that any content may unpack to
MAX_RATIO = 100
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_plain(
    path: pathlib.Path, mode: str = "rb", *, follow: bool = False, **text: Any
) -> IO[Any]:
    """Opens a plain file like `open`; `follow` allows the last part of its path to be a link.

    A file with several names (hard links) is read, because backups share files like this, but not
    written, because the other name may be outside the run's folder.

    Raises:
      OSError: the file cannot be opened or written, or is a link, a FIFO, a socket or a device.
    """

    def opener(name: str, flags: int) -> int:
        flags |= os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(name, flags, 0o666)
        status = os.fstat(descriptor)
        kind = KINDS.get(stat.S_IFMT(status.st_mode))
        if not kind and status.st_nlink > 1 and flags & os.O_ACCMODE != os.O_RDONLY:
            kind = "a hard link (replace it by a copy)"
        if kind:
            os.close(descriptor)
            raise OSError(errno.EINVAL, f"It is {kind}, not a plain file", name)
        return descriptor

    return open(path, mode, opener=opener, **text)


def read_bytes(path: pathlib.Path, limit: int, *, follow: bool = False) -> bytes:
    """Returns the content of a plain file of at most `limit` bytes.

    Raises:
      OSError: the file cannot be read, is not a plain file or is larger.
    """
    with open_plain(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise OSError(errno.EFBIG, f"It has more than {limit:,} bytes", str(path))
    return content


def expand_home(path: str) -> pathlib.Path:
    """Returns the path with a leading "~" replaced by the home folder.

    Raises:
      UserError: there is no such user, or this one has no home folder.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"the home folder in {path} is unknown: set HOME or XDG_CACHE_HOME, or give the full"
            " path"
        ) from error


def check_claim(path: pathlib.Path, claimed: int, held: int) -> None:
    """Raises a UserError if content of `held` bytes claims to unpack to far more.

    A small file could otherwise fill the memory. Weights hardly compress, and images little.
    """
    if claimed > max(SMALL, MAX_RATIO * held):
        raise UserError(
            f"{path} would unpack from {held:,} to {claimed:,} bytes and was not read; expected at"
            f" most {MAX_RATIO} times as many"
        )


def read_text(path: pathlib.Path) -> str:
    """Returns the text of a plain file without a byte-order mark; the path may be a link.

    Raises:
      UserError: the file cannot be read, is not a plain file, is too large or is not UTF-8.
    """
    try:
        return read_bytes(path, MAX_TEXT, follow=True).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from error


def check_folder(folder: pathlib.Path) -> None:
    """Raises a UserError if anything in a run's folder is neither a plain file nor a folder.

    The folder itself may be a link.
    """
    for parent, folders, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in (*folders, *names)):
            try:
                kind = KINDS.get(stat.S_IFMT(os.lstat(path).st_mode))
            except FileNotFoundError:  # a training process has just removed it
                continue
            if kind:
                raise UserError(
                    f"{path} is {kind}, but a run's folder may hold only plain files and folders:"
                    " remove it, or replace a link by a copy of the file"
                )
