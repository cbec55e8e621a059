"""Starts and ends a command: its parser, errors, exit status and ctrl-C."""

import argparse
import os
import pathlib
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import logging

from jaxcifar import errors
from jaxcifar.system import output

STOPPED = "stopped by ctrl-C"


def command_parser(name: str, description: str, **more: Any) -> argparse.ArgumentParser:
    """Returns the parser of `python -m jaxcifar.NAME` with the options that all commands share."""
    parser = argparse.ArgumentParser(
        prog=f"python -m jaxcifar.{name}", description=description, allow_abbrev=False, **more
    )
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    return parser


def add_step_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose a run and one of its saved steps."""
    parser.add_argument(
        "--checkpoint", required=True, type=pathlib.Path, metavar="DIR", help="folder of the run"
    )
    parser.add_argument(
        "--step", default="latest", help="saved step: latest (default), best or a number"
    )


def run_command(main: Callable[[], None]) -> None:
    """Runs a command and exits with its status.

    A `UserError` prints one line and exits with status 2; ctrl-C exits with 130. --debug adds the
    traceback and the logs of libraries. If the reader of stdout is gone, as in `| head`, the
    command exits silently with 141. Any other error is a bug, keeps its traceback and exits with 1.
    """
    output.open_closed_streams()
    if signal.getsignal(signal.SIGINT) is _exit_on_interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not (debug := "--debug" in sys.argv[1:]):
        # Orbax logs every thread's stack when an error passes through it.
        logging.set_verbosity(logging.FATAL)
        sys.unraisablehook = _ignore_closed_loops
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        output.say(STOPPED, sys.stderr)
        leave(130)
    except BrokenPipeError:
        output.discard(1)
        leave(141)
    except SystemExit:
        _flush_or_leave()
        raise
    except Exception as error:
        known = errors.as_user_error(error)
        if debug or known is None:
            traceback.print_exc()
        if known:
            output.say(f"error: {known}", sys.stderr)
        leave(2 if known else 1)


def leave(status: int) -> None:
    """Ends the process now. A normal exit would wait, perhaps forever, for threads of Orbax that
    an error or ctrl-C has cut off, and they would print errors of their own."""
    _flush_or_leave()
    sys.stderr.flush()
    os._exit(status)


def _flush_or_leave() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(141)


def _ignore_closed_loops(unraisable: Any) -> None:
    """Reports an error that nobody can catch, except those of TensorStore after a failed read."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def leave_on_interrupt() -> None:
    """Makes ctrl-C print one line and exit during imports, until `run_command` takes over."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_on_interrupt)


def _exit_on_interrupt(*_: Any) -> None:
    os.write(2, f"{STOPPED}\n".encode())  # an exception would print the traceback of an import
    os._exit(130)


def command_line(module: str, *words: str) -> str:
    """Returns a command line to paste into a shell: this Python, with every word quoted."""
    return shlex.join([sys.executable, "-m", f"jaxcifar.{module}", *words])
