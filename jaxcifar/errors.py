"""The one exception for mistakes of the user's, and how a command ends on it."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

STOPPED = "stopped by ctrl-C"


class UserError(Exception):
    """A mistake of the user's or in their files, told in one line: what, expected, what to do."""


def run_command(main: Callable[[], None]) -> None:
    """Runs a command: a `UserError` ends it with one line and status 2, ctrl-C with 130."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(130)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def leave_on_interrupt() -> None:
    """Makes ctrl-C end a command with one line while it imports; `run_command` takes over."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: Any) -> None:
    os.write(2, f"{STOPPED}\n".encode())  # an exception would end in a traceback of an import
    os._exit(130)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
