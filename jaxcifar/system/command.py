"""How a command of this package starts and ends: its parser, its errors, ctrl-C."""

import argparse
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import logging

from jaxcifar.errors import UserError

STOPPED = "stopped by ctrl-C"


def command_parser(name: str, description: str, **more: Any) -> argparse.ArgumentParser:
    """Returns the parser of `python -m jaxcifar.NAME`, with the option that every command has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m jaxcifar.{name}", description=description, allow_abbrev=False, **more
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came up")
    return parser


def run_command(main: Callable[[], None]) -> None:
    """Runs a command: a `UserError` ends it with one line and status 2, ctrl-C with 130.

    With --debug the traceback comes before the line, and what libraries log. Where nobody reads
    what it prints any more, as after `| head`, it ends with 141 without a word. Any other error is
    a bug and keeps its own.
    """
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "--debug" not in sys.argv[1:]:
        # Orbax logs a dump for each thread that an error passes through; the error itself is told
        logging.set_verbosity(logging.FATAL)
    try:
        try:
            main()
        except KeyboardInterrupt:
            print(STOPPED, file=sys.stderr)
            sys.exit(130)
        except UserError as error:
            if "--debug" in sys.argv[1:]:
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still to be printed
        sys.exit(141)


def leave_on_interrupt() -> None:
    """Makes ctrl-C end a command with one line while it imports; `run_command` takes over."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: Any) -> None:
    os.write(2, f"{STOPPED}\n".encode())  # an exception would end in a traceback of an import
    os._exit(130)


def command_line(module: str, *words: str) -> str:
    """Returns a command line that can be pasted: this Python, and every word quoted."""
    return shlex.join([sys.executable, "-m", f"jaxcifar.{module}", *words])
