"""Starts and ends a command: its parser, errors, exit status and ctrl-C."""

import argparse
import atexit
import os
import pathlib
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import logging

from jaxcifar import errors
from jaxcifar.system import output, second_signal
from jaxcifar.system.files import expand_home

CONSOLE = "jaxcifar"  # the console command, `jaxcifar NAME`
KEYS = (
    "docs/config.md describes all keys of a config;\n"
    "`jaxcifar config FILE.py` prints the keys of one."
)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, as all errors of the user."""

    def error(self, message: str) -> NoReturn:
        raise errors.UserError(f"{message}; {self.prog} --help describes the options")


def command_parser(
    name: str, description: str, examples: Sequence[str], notes: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Returns a command's parser with the options that all commands share.

    `examples` are the words after the command's name, and `notes` are lines that follow them.
    """
    started = sys.argv[0].startswith(f"{CONSOLE} ")
    prog = sys.argv[0] if started else f"python -m jaxcifar.{name}"
    parser = _Parser(
        prog=prog,
        description=description,
        epilog="\n".join(["examples:", *(f"  {prog} {e}" for e in examples), "", *notes]).rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    return parser


def add_step_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose a run and one of its saved steps."""
    parser.add_argument(
        "--checkpoint",
        required=True,
        type=expand_home,
        metavar="DIR",
        help="folder of the run",
    )
    parser.add_argument(
        "--step",
        default="latest",
        help="saved step: latest (default), a number, or best (by validation accuracy, or by test"
        " accuracy if there are no validation images)",
    )


def add_config_option(parser: argparse.ArgumentParser, name: str = "--config") -> None:
    """Adds the option, or the argument, that chooses a config."""
    text = (
        "a config file, the name of one in configs/ or a run's folder, with a variant if it has any"
    )
    required = {"required": True} if name.startswith("-") else {}
    parser.add_argument(name, **required, metavar="FILE[:VARIANT]", help=text)  # type: ignore[arg-type]
    parser.epilog = f"{parser.epilog}\n{KEYS}"


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose the data to evaluate a run on."""
    text = "folder or file of the data (default: the one in the config)"
    parser.add_argument("--data_dir", metavar="DIR", help=text)
    text = "accept data whose classes have other names or another order, and compare by number"
    parser.add_argument("--other_classes", action="store_true", help=text)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command and ends the process with its status, whatever threads still run.

    A `UserError` prints one line and exits with status 2; ctrl-C exits with 130. --debug adds the
    traceback and the logs of libraries. If the reader of stdout is gone, as in `| head`, the
    command exits silently with 141. Any other error is a bug, keeps its traceback and exits with 1.
    """
    output.prepare_streams()
    os.environ["MPLBACKEND"] = "agg"  # matplotlib's import fails with one that it does not know
    if sys.stderr.isatty():
        output.attempt(lambda: print("\033[K", end="", file=sys.stderr, flush=True), sys.stderr)
    if not (debug := "--debug" in sys.argv[1:]):
        # Orbax logs every thread's stack when an error passes through it.
        logging.set_verbosity(logging.FATAL)
        sys.unraisablehook = _ignore_closed_loops
    with second_signal.enforced():
        try:
            main()
            sys.stdout.flush()
        except KeyboardInterrupt:
            output.say(second_signal.STOPPED, sys.stderr)
            leave(130)
        except BrokenPipeError:
            output.discard(1)
            leave(141)
        except SystemExit as end:
            leave(_status(end), in_order=True)
        except Exception as error:
            known = errors.as_user_error(error)
            if debug or known is None:
                traceback.print_exc()
            if known:
                output.say(f"error: {known}", sys.stderr)
            leave(2 if known else 1)
        else:
            leave(0, in_order=True)


def leave(status: int, in_order: bool = False) -> None:
    """Ends the process now, without waiting for other threads.

    A normal exit would wait, perhaps forever, for threads of Orbax that an error or ctrl-C has cut
    off, and they would print errors of their own. `in_order` first calls what is registered with
    `atexit`, such as JAX's departure from the other processes.
    """
    if in_order:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, second_signal.leave_at_once)
        atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = 141
    except OSError as error:
        if not status:  # otherwise an error was printed, perhaps this one
            output.say(f"error: {errors.as_user_error(error) or error}", sys.stderr)
        status = status or 2
    sys.stderr.flush()
    os._exit(status)


def _status(end: SystemExit) -> int:
    """Returns the status of `sys.exit`, and prints its message if it has one."""
    if isinstance(end.code, str):
        output.say(end.code, sys.stderr)
        return 1
    return end.code or 0


def _ignore_closed_loops(unraisable: Any) -> None:
    """Reports an error that nobody can catch, except those of TensorStore after a failed read."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def start_command() -> None:
    """Says "loading" on a terminal, and makes ctrl-C print one line and exit during imports.

    `run_command` takes over from here.
    """
    if sys.stderr and sys.stderr.isatty():
        output.attempt(
            lambda: print("loading JAX …", end="\r", file=sys.stderr, flush=True), sys.stderr
        )
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # an exception would print the traceback of an import
        signal.signal(signal.SIGINT, second_signal.leave_at_once)


def command_line(module: str, *words: str) -> str:
    """Returns a command line to paste into a shell, with every word quoted.

    It begins with the console command if the user's own command did, and else with this Python.
    """
    script = pathlib.Path(sys.executable).with_name(CONSOLE)
    start = [sys.executable, "-m", f"jaxcifar.{module}"]
    if sys.argv[0].startswith(f"{CONSOLE} ") and script.exists():
        start = [CONSOLE if shutil.which(CONSOLE) == str(script) else str(script), module]
    return shlex.join([*start, *words])
