"""The exception for user errors."""


class UserError(Exception):
    """A mistake in the command line or in the user's files, described in one line.

    The line says what is wrong, what was expected and what to do.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # quoted text may have several lines


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
