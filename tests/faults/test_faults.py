"""Faults during training: nothing is lost, and the run resumes.

These are short versions of `kill.py` and `damage.py` in this folder.
"""

import importlib.util
import pathlib
import pkgutil
import shutil
import subprocess
import time

import jax
import numpy as np
import pytest
from conftest import tiny

from jaxcifar.errors import UserError
from jaxcifar.run import metrics
from jaxcifar.training import trainer

CLOCK = ("seconds", "examples_per_second")
EPOCHS = 3


def module(name):
    """Imports a script of this folder."""
    file = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"faults_{name}", file)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def end_of(folder):
    """Finishes a run in `folder`; returns the leaves of its state, and its metrics."""
    result = trainer.train(tiny(num_epochs=EPOCHS), folder)
    assert result.finished
    lines = [{k: v for k, v in x.items() if k not in CLOCK} for x in metrics.read(folder)]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result.state)], lines


@pytest.fixture(scope="module")
def whole(small_data_for_module, tmp_path_factory):
    """The end of a run without faults."""
    return end_of(tmp_path_factory.mktemp("whole"))


def assert_equal(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1] == other[1]


WRITES = [
    "jaxcifar.run.metrics.append",
    "jaxcifar.run.progress.Events.write",
    "jaxcifar.figures.png.save",
    "jaxcifar.system.atomic.write_text",
    "orbax.checkpoint.experimental.v1.training.Checkpointer.save_checkpointables_async",
]

TWICE = [place for place in WRITES if "png" not in place]  # a run draws its figure only once


@pytest.mark.parametrize(
    ("place", "at"), [*((p, 1) for p in WRITES), *((p, 2) for p in TWICE)], ids=str
)
def test_a_full_disk_stops_the_run_with_one_line_and_it_resumes(place, at, whole, tmp_path):
    """Writing fails the `at`-th time and every time after."""
    write, calls = pkgutil.resolve_name(_colon(place)), []

    def full(*words, **named):
        calls.append(1)
        if len(calls) >= at:
            raise OSError(28, "No space left on device")
        return write(*words, **named)

    folder, message = tmp_path / "run", ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, full)
        try:
            end_of(folder)
        except UserError as error:
            message = str(error)
    assert message.endswith("No space left on device")
    assert "\n" not in message
    assert_equal(end_of(folder), whole)


def _colon(place):
    """Returns a name in the form that pkgutil expects, with a colon after the module."""
    parts = place.split(".")
    first = next((i for i, part in enumerate(parts) if part[0].isupper()), len(parts) - 1)
    return ".".join(parts[:first]) + ":" + ".".join(parts[first:])


def test_a_circular_chain_of_errors_is_reported(small_data, tmp_path, monkeypatch):
    """Orbax raises such chains from its threads."""
    one, other = ValueError("UNKNOWN: [os_error_code='28']"), RuntimeError("again")
    one.__cause__, other.__cause__ = other, one

    def fail(*_):
        raise other

    monkeypatch.setattr(metrics, "append", fail)
    with pytest.raises(UserError, match="No space left on device"):
        end_of(tmp_path / "run")


def test_a_moved_workdir_is_reported_and_the_run_resumes_once_it_is_back(whole, tmp_path):
    append, folder = metrics.append, tmp_path / "run"

    def take(path, line):
        if line["epoch"] == 2:
            while any(folder.glob("steps/*tmp*")):  # the first epoch's, saved meanwhile
                time.sleep(0.01)
            folder.rename(tmp_path / "elsewhere")
            folder.mkdir()
            (folder / "steps").mkdir()
        append(path, line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "append", take)
        with pytest.raises(UserError, match="was moved or deleted while training"):
            end_of(folder)
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").rename(folder)
    assert_equal(end_of(folder), whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KB; skips the test if it may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("more", ["size=20m", "ro"])
def test_a_disk_that_is_full_or_read_only(more, whole, small_disk):
    """Once there is room, or the disk is writable again, the run ends like one never stopped."""

    def remount(option):
        command = ["mount", "-o", f"remount,{option}", str(small_disk)]
        subprocess.run(command, check=True)

    if more == "ro":
        remount("size=20m,ro")
    with pytest.raises(UserError, match=r"No space left on device|Read-only file system"):
        end_of(small_disk / "run")
    remount("size=20m,rw")
    assert_equal(end_of(small_disk / "run"), whole)


def test_killed_runs_end_like_uninterrupted_ones(capsys):
    assert module("kill").main(number=5, seed=0) == 0
    assert "after 5 kills" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_damage_to_any_file_is_handled(capsys):
    assert module("damage").main(flips=1, seed=0) == 0
    assert "0 of" in capsys.readouterr().out
