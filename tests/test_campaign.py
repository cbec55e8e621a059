"""Rehearsals of the GPU campaign: each kind of stage runs on a CPU, with tiny nets."""

import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from conftest import ROOT

DEEP = ("adaptive seed 0", "adaptive seed 1", "resnet20 seed 0", "small run", "stopped run")
STAGES = {*DEEP, "speedrun", "speed", "agree"}
SAVING = "trap 'kill $!; echo saved; exit 130' TERM\nsleep 60 &\necho begun\nwait\n"
LEFT_OUT = "left out: there is no PyTorch to compare with"


def command_of(folder, *words, **environment):
    command = ["bash", str(ROOT / "benchmarks" / "campaign.sh"), *words]
    places = {"WORK": str(folder / "work"), "OUT": str(folder / "out"), "PYTHON": sys.executable}
    return command, os.environ | places | environment


def campaign(folder, *words, **environment):
    command, environment = command_of(folder, *words, **environment)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)


def stand_in(folder, script):
    """A PYTHON that has all packages but PyTorch, and runs a shell script for each stage."""
    python = folder / "python"
    python.write_text(f'#!/bin/bash\n[[ "$1" != *ready.py ]] || exit 0\n{script}')
    python.chmod(0o755)
    return str(python)


def ends(printed):
    """How each stage ended."""
    table = printed.partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {row[0]: row[1] for row in rows}


def names_in(archive):
    with tarfile.open(archive) as tar:
        return {member.name for member in tar if member.isfile()}


def until(condition, seconds=60):
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def output_until(process, text):
    """What a process prints up to a line with the text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"no {text!r} in {''.join(lines)}")


def test_a_rehearsal_runs_each_kind_of_stage_and_repeats_none(tmp_path):
    first = campaign(tmp_path, "--rehearse")
    assert first.returncode == 0, first.stdout + first.stderr
    found = ends(first.stdout)
    assert set(found) == STAGES
    assert found.pop("speed") in ("done", LEFT_OUT)
    assert found.pop("stopped run") == "stopped at its limit"
    assert set(found.values()) == {"done"}
    assert os.listdir(tmp_path / "out") == ["campaign.tgz"]

    names = names_in(tmp_path / "out" / "campaign.tgz")
    assert {"stages.md", "runs.md", "logs/adaptive-seed-1.log"} <= names
    assert {"results/speedrun-cpu.json", "results/agree-cpu.json"} <= names
    for run in ("small-run", "stopped-run"):
        folder = f"checkpoints/rehearsal/{run}"
        assert {f"{folder}/config.json", f"{folder}/metrics.jsonl"} <= names
        assert any(name.startswith(f"{folder}/steps/") for name in names)

    again = ends(campaign(tmp_path, "--rehearse").stdout)
    again.pop("speed")
    assert set(again.values()) == {"done before"}

    # what the archive holds of the run that its limit stopped is enough to continue it
    unpacked = tmp_path / "elsewhere"
    with tarfile.open(tmp_path / "out" / "campaign.tgz") as tar:
        tar.extractall(unpacked, filter="data")
    folder = unpacked / "checkpoints" / "rehearsal" / "stopped-run"
    (step,) = os.listdir(folder / "steps")
    words = [f"--workdir={folder}", f"--config={ROOT / 'configs' / 'adaptive_prelu.py'}"]
    words += ["--config.data.source=synthetic", "--config.data.train_examples=96"]
    words += ["--config.model.widths=(4,8)", "--config.model.num_blocks=(1,1)"]
    words += ["--config.batch_size=32", "--config.num_epochs=100000"]
    command = [sys.executable, "-m", "jaxcifar.train", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert f"resumed at step {int(step):,}" in output_until(process, "compiled in")
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 130


def test_the_archive_has_records_and_the_latest_steps_that_fit(tmp_path):
    work = tmp_path / "work"
    for file, size in (
        ("lane_a/runs/adaptive-seed0.json", 10),
        ("lane_b/runs/resnet20-seed0.json", 10),
        ("lane_a/checkpoints/small/metrics.jsonl", 10),
        ("lane_a/checkpoints/small/steps/390/data", 10),
        ("lane_a/checkpoints/small/steps/1170/data", 10),
        ("lane_a/checkpoints/small/steps/1560.orbax-checkpoint-tmp/data", 10),
        ("lane_a/checkpoints/small/tensorboard/events", 10),
        ("lane_b/checkpoints/large/config.json", 10),
        ("lane_b/checkpoints/large/steps/390/data", 1_000_000),
    ):
        (work / file).parent.mkdir(parents=True, exist_ok=True)
        (work / file).write_bytes(b"x" * size)
    found = campaign(tmp_path, "--rehearse", "0", PYTHON=stand_in(tmp_path, ""), ARCHIVE_MB="1")
    names = names_in(tmp_path / "out" / "campaign.tgz")
    assert {name for name in names if not name.endswith(".md")} == {
        "results/runs/adaptive-seed0.json",
        "results/runs/resnet20-seed0.json",
        "checkpoints/reproduce/small/metrics.jsonl",
        "checkpoints/reproduce/small/steps/1170/data",
        "checkpoints/reproduce/large/config.json",
    }
    small, large = found.stdout.splitlines()[-3:-1]
    assert small.startswith("| small | 0 | 1170 |")
    assert small.endswith("| yes |")
    assert large.endswith("| no, it does not fit |")


def test_when_no_time_is_left_nothing_begins(tmp_path):
    python = stand_in(tmp_path, f"touch {tmp_path}/begun")
    found = campaign(tmp_path, "--rehearse", "00", PYTHON=python)
    assert found.returncode == 1
    stages = ends(found.stdout)
    assert stages.pop("speed") == LEFT_OUT
    assert set(stages) == STAGES - {"speed"}
    assert all(end.startswith("not begun") for end in stages.values())
    assert not (tmp_path / "begun").exists()


def test_a_run_needs_the_time_that_its_first_seed_took(tmp_path):
    marks = tmp_path / "work" / "rehearsed"
    marks.mkdir(parents=True)
    (marks / "adaptive-seed-0").write_text("9999\n")
    found = ends(campaign(tmp_path, "--rehearse", PYTHON=stand_in(tmp_path, "")).stdout)
    assert found["adaptive seed 0"] == "done before"
    assert found["adaptive seed 1"].startswith("not begun: it needs 9999 seconds")


def test_a_stage_that_fails_is_named_and_the_others_still_run(tmp_path):
    found = campaign(tmp_path, "--rehearse", PYTHON=stand_in(tmp_path, "echo broken; exit 1"))
    assert found.returncode == 1
    stages = ends(found.stdout)
    assert stages.pop("speed") == LEFT_OUT
    assert set(stages) == STAGES - {"speed"}
    assert set(stages.values()) == {"failed with status 1: broken"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_stages_save_and_ends_all(tmp_path, number):
    logs = [tmp_path / "work" / "logs" / f"{name}-seed-0.log" for name in ("adaptive", "resnet20")]
    command, environment = command_of(tmp_path, "--rehearse", PYTHON=stand_in(tmp_path, SAVING))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: all(log.exists() and log.read_text() for log in logs))
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [log.read_text() for log in logs] == ["begun\nsaved\n"] * 2
    assert err.endswith("stopped; run the same command to continue\n")
    assert "seed 1" not in err
    assert "speedrun" not in err
    assert "logs/adaptive-seed-0.log" in names_in(tmp_path / "out" / "campaign.tgz")


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["soon"], {}, "SECONDS is soon"),
        ([], {"JAXCIFAR_DATA": ""}, "JAXCIFAR_DATA is ''"),
        ([], {"JAXCIFAR_DATA": ".", "JAX_PLATFORMS": "cpu"}, "jax finds no GPU"),
        (["--rehearse"], {"PYTHON": "nowhere/python"}, "PYTHON is nowhere/python"),
        (["--rehearse"], {"ARCHIVE_MB": "few"}, "ARCHIVE_MB is few"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(tmp_path, words, environment, said):
    found = campaign(tmp_path, *words, **environment)
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert said in line
    assert os.listdir(tmp_path) == []


def test_missing_packages_are_named_before_anything_begins(tmp_path):
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    for name in ("ml_collections", "tensorboardX"):
        error = f"raise ModuleNotFoundError('No module named {name}', name='{name}')"
        (lacking / f"{name}.py").write_text(error)
    found = campaign(tmp_path, "--rehearse", PYTHONPATH=str(lacking))
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert "lacks ml_collections, tensorboardX;" in line
    assert "wheels" in line
    assert os.listdir(tmp_path) == ["lacking"]


def test_a_work_folder_in_out_or_of_the_other_kind_is_refused(tmp_path):
    found = campaign(tmp_path, "--rehearse", WORK=str(tmp_path / "out" / "work"))
    assert (found.returncode, found.stdout) == (2, "")
    assert "which is in OUT" in found.stderr
    (tmp_path / "work" / "done").mkdir(parents=True)
    found = campaign(tmp_path, "--rehearse")
    assert (found.returncode, found.stdout) == (2, "")
    assert "set another WORK" in found.stderr


def test_a_run_finds_the_programs_that_warm_compiled(tmp_path):
    cache = tmp_path / "cache"
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
    # as many images as the synthetic data set has
    warm = [sys.executable, "benchmarks/warm.py", "--epochs=0", "--examples=10000", "resnet20"]
    found = subprocess.run(warm, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("resnet20: compiled in ")
    steps = list(cache.glob("jit__steps-*-cache"))
    assert len(steps) == 1
    command = [sys.executable, "-m", "jaxcifar.train", "--config=configs/resnet20.py"]
    command += ["--config.data.source=synthetic", f"--workdir={tmp_path / 'run'}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        output_until(process, "compiled in")
        process.terminate()
        process.communicate(timeout=60)
    assert list(cache.glob("jit__steps-*-cache")) == steps
