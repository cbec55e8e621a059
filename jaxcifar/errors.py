"""The exception for mistakes of the user."""


class UserError(Exception):
    """A mistake in what the user typed or in their files, told in one line.

    The line says what is wrong, what was expected and what to do.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # text it quotes may have several lines


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
