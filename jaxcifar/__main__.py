"""The command `jaxcifar`, which lists the other commands or runs one of them.

jaxcifar [COMMAND …] [--version] [--completion=bash|zsh|tcsh|fish]
"""

import argparse
import ast
import difflib
import importlib
import pathlib
import runpy
import sys

from jaxcifar.errors import UserError
from jaxcifar.run import provenance
from jaxcifar.system import command

COMMANDS = {  # name -> module, in the order in which a newcomer needs them
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "report": "report",
    "config": "show_config",
    "data": "inspect_data",
    "sweep": "sweep",
    "reproduce": "reproduce",
    "release": "release",
    "export": "export",
    "import_torch": "import_torch",
}
EXAMPLES = (
    "jaxcifar train --config=quickstart",
    "jaxcifar evaluate --checkpoint=checkpoints/quickstart",
)


def describe(name: str) -> str:
    """Returns what a command does, the first line of its module's docstring."""
    source = pathlib.Path(__file__).with_name(f"{COMMANDS[name]}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def overview() -> str:
    """Returns the list of commands, with examples."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: jaxcifar COMMAND [OPTIONS]",
            "",
            *(f"  {name:{width}}  {describe(name)}" for name in COMMANDS),
            "",
            "examples:",
            *(f"  {example}" for example in EXAMPLES),
            "",
            "jaxcifar COMMAND --help describes the options of a command. --version prints the",
            "version, and --completion=bash (or zsh, tcsh, fish) prints a completion script.",
        ]
    )


def completion(shell: str) -> str:
    """Returns a shell's completion script for all commands."""
    import shtab

    parser = argparse.ArgumentParser(prog="jaxcifar")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers()
    for name, module in COMMANDS.items():
        make_parser = importlib.import_module(f"jaxcifar.{module}").make_parser
        commands.add_parser(name, parents=[make_parser()], add_help=False, help=describe(name))
    return str(shtab.complete(parser, shell))


def main() -> None:
    """Runs the command that the command line names.

    Raises:
      UserError: there is no such command.
    """
    name, *words = sys.argv[1:] or ["--help"]
    name = {module: short for short, module in COMMANDS.items()}.get(name, name)
    option, _, shell = name.partition("=")
    if name in COMMANDS:
        sys.argv = [f"{command.CONSOLE} {name}", *words]
        runpy.run_module(f"jaxcifar.{COMMANDS[name]}", run_name="__main__")
    elif name in ("-h", "--help"):
        print(overview())
    elif name == "--version":
        commit = provenance.commit()
        print(
            f"jaxcifar {provenance.version('jaxcifar')}" + (f", commit {commit}" if commit else "")
        )
    elif option == "--completion":
        if shell not in ("bash", "zsh", "tcsh", "fish"):
            raise UserError(f"--completion is {shell!r}; expected bash, zsh, tcsh or fish")
        print(completion(shell))
    else:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"jaxcifar has no command {name}; {guess}the commands are {', '.join(COMMANDS)}"
        )


def run() -> None:
    """Runs `jaxcifar` from the shell, and ends as every command does."""
    command.run_command(main)


if __name__ == "__main__":
    run()
