"""The one exception for mistakes of the user's, and how a command ends on it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake of the user's or in their files, told in one line: what, expected, what to do."""


def run_command(main: Callable[[], None]) -> None:
    """Runs a command: a `UserError` ends it with one line on stderr and exit status 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
