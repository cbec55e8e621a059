"""The campaign for a GPU, rehearsed: each kind of stage runs, here on CPU and tiny."""

import os
import subprocess
import sys
import tarfile
import time

import pytest
from conftest import ROOT

STAGES = (
    *("agree", "speed", "speedrun", "deep_resnet20", "deep_adaptive_prelu", "claims_1"),
    *("sweep_resnet20", "profile"),
)


def command_of(folder, *words, **environment):
    command = ["bash", str(ROOT / "benchmarks" / "campaign.sh"), *words]
    return command, os.environ | {"PYTHON": sys.executable, "OUT": str(folder)} | environment


def campaign(folder, *words, **environment):
    command, environment = command_of(folder, *words, **environment)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)


def ends(printed):
    """How each stage ended."""
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line[:1] == "|"]
    return {row[0]: row[1] for row in rows[2:]}


def test_the_rehearsal_ends_well_and_goes_on_where_it_was(tmp_path):
    first = campaign(tmp_path / "out", "--rehearse")
    assert first.returncode == 0, first.stdout + first.stderr
    found = ends(first.stdout)
    assert tuple(found) == STAGES
    torch = found.pop("speed")
    assert torch == "done" or "no PyTorch" in torch
    assert set(found.values()) == {"done"}
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        names = archive.getnames()
    for ending in ("agree-cpu.json", "speedrun-cpu.json", "README.md", "perfetto_trace.json.gz"):
        assert any(name.endswith(ending) for name in names)
    assert not any("checkpoints" in name for name in names)
    again = ends(campaign(tmp_path / "out", "--rehearse").stdout)
    again.pop("speed")
    assert set(again.values()) == {"done before"}


def test_a_stage_that_fails_is_named_and_the_others_still_run(tmp_path):
    found = campaign(tmp_path / "out", "--rehearse", PYTHON="false")
    assert found.returncode == 1
    stages = ends(found.stdout)
    assert stages.pop("speed").startswith("left out")
    assert len(stages) == len(STAGES) - 1
    assert all(end.startswith("failed with status 1") for end in stages.values())


def test_when_the_minutes_are_over_nothing_begins(tmp_path):
    found = campaign(tmp_path / "out", "--rehearse", "00", PYTHON="false")
    assert found.returncode == 1
    stages = ends(found.stdout)
    stages.pop("speed")
    assert set(stages.values()) == {"not begun: the minutes are over"}


def test_a_signal_lets_the_stage_save_and_ends_all(tmp_path):
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/bash\n[ "$1" != -c ] || exit 1\n'
        "trap 'kill $!; echo saved; exit 130' TERM\necho begun\nsleep 60 &\nwait\n"
    )
    python.chmod(0o755)
    log = tmp_path / "out" / "agree.log"
    command, environment = command_of(tmp_path / "out", "--rehearse", PYTHON=str(python))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        waited = time.monotonic() + 30
        while not (log.exists() and log.read_text()) and time.monotonic() < waited:
            time.sleep(0.05)
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert log.read_text() == "begun\nsaved\n"
    assert err.endswith("stopped; the same command goes on\n")
    assert "speedrun" not in err
    assert (tmp_path / "out.tar.gz").exists()


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["soon"], {}, "MINUTES is soon"),
        ([], {"JAXCIFAR_DATA": ""}, "JAXCIFAR_DATA is not set"),
        ([], {"JAXCIFAR_DATA": "somewhere", "JAX_PLATFORMS": "cpu"}, "jax finds no GPU"),
        (["--rehearse"], {"PYTHON": "nowhere/python"}, "PYTHON is nowhere/python"),
    ],
)
def test_what_it_cannot_run_with_is_said_in_a_line(tmp_path, words, environment, said):
    found = campaign(tmp_path / "out", *words, **environment)
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_rehearsal_leaves_a_campaign_alone(tmp_path):
    (tmp_path / "out" / "done").mkdir(parents=True)
    found = campaign(tmp_path / "out", "--rehearse")
    assert (found.returncode, found.stdout) == (2, "")
    assert "set another OUT" in found.stderr
