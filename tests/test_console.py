"""The command `jaxcifar`, and the help of every command."""

import argparse
import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar import __main__ as console
from jaxcifar.config import overrides


def run(*words, **variables):
    command = [sys.executable, "-m", "jaxcifar", *words]
    env = os.environ | variables
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def make_parser(name):
    return importlib.import_module(f"jaxcifar.{console.COMMANDS[name]}").make_parser()


def test_every_module_at_the_top_of_the_package_is_a_command():
    modules = {file.stem for file in (ROOT / "jaxcifar").glob("*.py")}
    assert modules - {"__init__", "__main__", "errors"} == set(console.COMMANDS.values())


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_without_a_command_it_lists_the_commands_and_two_examples(words):
    done = run(*words)
    assert done.returncode == 0
    for name in console.COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert done.stdout.count("\n  jaxcifar ") == 2
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_it_works_in_a_locale_without_unicode():
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run(**ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Trains a config" in done.stdout


def test_it_runs_a_command_under_its_own_name():
    done = run("evaluate", "--checkpoint=nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert run("train", "--help").stdout.startswith("usage: jaxcifar train [-h]")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "quickstart"], "the following arguments are required: --config"),
        (["export", "--checkpoint=a", "--to=pt", "--out=b"], "invalid choice: 'pt'"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(words, said):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.endswith(f"; jaxcifar {words[0]} --help describes the options\n")
    assert done.stderr.count("\n") == 1


def test_a_command_has_the_name_of_its_module_too():
    assert run("show_config", "quickstart").stdout == run("config", "quickstart").stdout != ""


def test_a_misspelt_command_suggests_the_nearest():
    done = run("trian")
    assert done.returncode == 2
    assert done.stderr.startswith("error: jaxcifar has no command trian; did you mean train?")
    assert "did you mean" not in run("zzz").stderr


def test_an_unknown_shell_is_answered_with_the_known_ones():
    done = run("--completion=ksh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --completion is 'ksh'; expected bash, zsh, tcsh or fish\n"


def test_the_version_names_the_commit():
    assert run("--version").stdout.startswith("jaxcifar ")


def test_the_completion_script_knows_every_command_and_its_options():
    pytest.importorskip("shtab")
    script = console.completion("bash")
    for name in console.COMMANDS:
        assert name in script
    assert "--find_rate" in script
    name = re.search(
        r"`source <\(jaxcifar --completion=(\w+)\)`", (ROOT / "README.md").read_text()
    )[1]
    words = "COMP_WORDS=(jaxcifar pre); COMP_CWORD=1; compopt() { :; }"
    ask = f"{words}; _shtab_jaxcifar; echo $COMPREPLY"
    asked = [name, "-c", f"{console.completion(name)}\n{ask}"]
    assert subprocess.run(asked, capture_output=True, text=True).stdout == "predict\n"


def options(parser):
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            yield action


@pytest.mark.parametrize("name", console.COMMANDS)
def test_the_help_describes_each_option_with_its_default_and_gives_two_examples(name):
    parser = make_parser(name)
    for action in options(parser):
        assert action.help, action.dest
        optional = action.option_strings and not action.required and action.nargs != 0
        if optional and not action.dest.startswith("process") and action.dest != "coordinator":
            assert "default" in action.help, action.dest
    text = parser.format_help()
    takes_config = name in ("train", "config", "sweep", "import_torch")
    assert ("docs/config.md" in text) == takes_config
    examples = (
        text.partition("examples:\n")[2].partition("\n\n")[0].replace("\\\n", "").splitlines()
    )
    assert len(examples) == 2
    for example in examples:
        words = shlex.split(example)
        assert words[:3] == ["python", "-m", f"jaxcifar.{console.COMMANDS[name]}"]
        known, rest = parser.parse_known_args(words[3:])  # exits if a word is wrong
        if getattr(known, "config", None):
            overrides.load_config(known.config, rest)
        else:
            assert not rest
