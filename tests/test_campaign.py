"""The campaign for a GPU, rehearsed: every stage's command runs, here on CPU and tiny."""

import os
import subprocess
import sys
import tarfile

import pytest
from conftest import ROOT

STAGES = (
    *("agree", "speed", "speedrun", "deep_resnet20", "deep_adaptive", "deep_adaptive_softmax"),
    *("deep_adaptive_prelu", "claims_1", "sweep_resnet20", "profile"),
)


def campaign(folder, *words, **environment):
    command = ["bash", str(ROOT / "benchmarks" / "campaign.sh"), *words]
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(folder)} | environment
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
    assert all(end.startswith("failed") for end in stages.values())


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["soon"], {"JAXCIFAR_DATA": "somewhere"}, "MINUTES is soon"),
        ([], {"JAXCIFAR_DATA": ""}, "JAXCIFAR_DATA is not set"),
        (["--rehearse"], {"PYTHON": "nowhere/python"}, "PYTHON is nowhere/python"),
    ],
)
def test_what_it_cannot_run_with_is_said_in_a_line(tmp_path, words, environment, said):
    found = campaign(tmp_path / "out", *words, **environment)
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_when_the_minutes_are_over_nothing_begins(tmp_path):
    found = campaign(tmp_path / "out", "0", JAXCIFAR_DATA="somewhere")
    stages = ends(found.stdout)
    stages.pop("speed")
    assert set(stages.values()) == {"not begun: the minutes are over"}
