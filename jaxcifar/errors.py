"""The exception for user errors, and the errors of JAX and of the system that are user errors."""

import errno

DISK = (errno.ENOSPC, errno.EDQUOT)  # the disk is full, or the user's quota is used up
PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS)  # path refused
MAX_MESSAGE, MAX_NAME = 2000, 200  # characters
SPACE = "\N{NO-BREAK SPACE}"  # harmless, though `isprintable` says otherwise


class UserError(Exception):
    """A mistake in the command line or in the user's files, described in one line.

    The line says what is wrong, what was expected and what to do.
    """

    def __init__(self, message: str):
        # quoted text may contain line breaks and characters that a terminal would obey
        super().__init__(printable(" ".join(message.splitlines()), MAX_MESSAGE))


def printable(text: str, limit: int = MAX_NAME) -> str:
    """Returns text from elsewhere in a form that is safe to print.

    Control and other unprintable characters are escaped, because a terminal would obey them. The
    middle of a text that is longer than `limit` is left out.
    """
    if len(text) > limit:
        text = f"{text[: limit * 3 // 4]} … {text[-limit // 4 :]}"
    return "".join(c if c.isprintable() or c == SPACE else repr(c)[1:-1] for c in text)


def as_user_error(error: BaseException) -> UserError | None:
    """Returns an error of the user or of the machine as a UserError; None if it is a bug."""
    if isinstance(error, UserError):
        return error
    text = str(error)
    if isinstance(error, RuntimeError | ValueError) and "RESOURCE_EXHAUSTED" in text:
        return UserError(
            f"the device has too little memory ({text.splitlines()[0][:150]}); use a smaller"
            " config.batch_size (half of it with --config.accumulate_steps=2 trains on as many"
            " images per update), or end other programs that use the device"
        )
    if isinstance(error, OSError) and error.errno in DISK:
        where = printable(str(error.filename)) if error.filename else "the output"
        return UserError(f"cannot write {where}: {error.strerror}; free some space and try again")
    if isinstance(error, OSError) and error.errno in PATH and isinstance(error.filename, str):
        return UserError(
            f"cannot use {error.filename}: {error.strerror}; check the path and its permissions"
        )
    return None


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
