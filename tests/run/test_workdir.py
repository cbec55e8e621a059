import os
import re
import socket
import subprocess
import sys

import pytest
from conftest import ROOT, TINY, tiny

from jaxcifar import schema
from jaxcifar.errors import UserError
from jaxcifar.run import workdir


def content(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_the_same_config_may_come_back_and_another_is_refused(tmp_path):
    folder = tmp_path / "deep" / "run"
    workdir.claim(folder, tiny())
    before = content(folder)
    workdir.claim(folder, tiny(**{"data.dir": "/elsewhere"}))  # the data may move
    other = tiny(**{"optimizer.learning_rate": 0.5, "model.widths": (4, 8)})
    with pytest.raises(UserError) as error:
        workdir.claim(folder, other)
    for difference in ("optimizer.learning_rate: 0.003 -> 0.5", "model.widths: [4, 6] -> [4, 8]"):
        error.match(difference.replace("[", r"\[").replace("]", r"\]"))
    assert "data.dir" not in str(error.value)
    assert content(folder) == before


def test_what_is_claimed_is_loaded(tmp_path):
    config = tiny()
    workdir.claim(tmp_path / "run", config)
    loaded = workdir.load_config(tmp_path / "run")
    assert schema.differences(config, loaded) == []
    assert list(loaded.model.widths) == list(TINY["model.widths"])


def test_a_folder_that_is_not_a_runs_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    before = content(tmp_path)
    with pytest.raises(UserError, match="not empty"):
        workdir.claim(tmp_path, tiny())
    assert content(tmp_path) == before


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot write to --workdir"):
            workdir.claim(folder, tiny())


@pytest.mark.parametrize("text", ["", "{", "{}", '{"seed": 0}', "[]", '{"sead": 1}'])
def test_a_damaged_config_is_an_error_that_names_the_file(tmp_path, text, monkeypatch):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "config.json"))):
        workdir.load_config(tmp_path)
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_: os.stat("/nowhere"))
    with pytest.raises(UserError, match=r"cannot read .*config.json: No such file"):
        workdir.load_config(tmp_path)
    with pytest.raises(UserError, match="not a run's folder"):
        workdir.load_config(tmp_path / "none")


HOLD = """
import pathlib, sys, time
from jaxcifar.run import workdir
with workdir.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_only_one_process_trains_in_a_folder_and_the_other_is_told_which(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        name = re.escape(f"process {first.pid} on {socket.gethostname()} is training in {tmp_path}")
        for _ in range(2):  # being refused leaves the name there
            with pytest.raises(UserError, match=name), workdir.lock(tmp_path):
                pass
        first.kill()
    for _ in range(2):  # neither a dead process nor one that has ended holds it
        with workdir.lock(tmp_path):
            assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
