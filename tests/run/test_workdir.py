import errno
import fcntl
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest
from conftest import ROOT, TINY, tiny

from jaxcifar import predict, release, report
from jaxcifar.config import compare
from jaxcifar.errors import UserError
from jaxcifar.run import workdir


def content(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def claim(folder, config):
    with workdir.claim_workdir(folder, config):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="has no locks"):
        claim(tmp_path / "run", tiny())
    assert (tmp_path / "run" / "config.json").exists()


def test_the_same_config_may_return_and_another_is_refused(tmp_path):
    folder = tmp_path / "deep" / "run"
    claim(folder, tiny())
    before = content(folder)
    claim(folder, tiny(**{"data.dir": "/elsewhere"}))  # the data may move
    other = tiny(**{"optimizer.learning_rate": 0.5, "model.widths": (4, 8)})
    with pytest.raises(UserError) as error:
        claim(folder, other)
    for difference in ("optimizer.learning_rate: 0.003 -> 0.5", "model.widths: [4, 6] -> [4, 8]"):
        error.match(difference.replace("[", r"\[").replace("]", r"\]"))
    assert "data.dir" not in str(error.value)
    assert content(folder) == before


def test_the_config_of_a_claimed_folder_can_be_loaded(tmp_path):
    config = tiny()
    claim(tmp_path / "run", config)
    loaded = workdir.load_config(tmp_path / "run")
    assert compare.differences(config, loaded) == []
    assert list(loaded.model.widths) == list(TINY["model.widths"])


def test_a_folder_with_other_files_is_refused_and_left_unchanged(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    before = content(tmp_path)
    with pytest.raises(UserError, match="is not empty and does not hold"):
        claim(tmp_path, tiny())
    assert content(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot write to --workdir"):
            claim(folder, tiny())


@pytest.mark.parametrize("text", ["", "{", "{}", '{"seed": 0}', "[]", '{"sead": 1}'])
def test_an_error_in_a_saved_config_names_the_file(tmp_path, text, monkeypatch):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "config.json"))):
        workdir.load_config(tmp_path)
    monkeypatch.setattr("jaxcifar.system.files.read_bytes", lambda *_, **__: os.stat("/nowhere"))
    with pytest.raises(UserError, match=r"cannot read .*config.json: No such file"):
        workdir.load_config(tmp_path)
    with pytest.raises(UserError, match="none does not exist"):
        workdir.load_config(tmp_path / "none")


def test_files_left_by_a_killed_process_do_not_block_a_new_one(tmp_path):
    for name in ("config.json.7.tmp", ".lock"):
        (tmp_path / name).write_text('{"se')
    claim(tmp_path, tiny())
    assert set(map(str, content(tmp_path))) == {"config.json", ".lock"}
    (tmp_path / "metrics.jsonl.9.tmp").write_text("half")
    (tmp_path / "notes.tmp").write_text("mine")
    claim(tmp_path, tiny())
    assert set(map(str, content(tmp_path))) == {"config.json", ".lock", "notes.tmp"}


def test_a_refused_process_leaves_the_folder_unchanged(tmp_path, monkeypatch):
    """Two processes with different configs start at once, and both see an empty folder."""
    check = workdir.check_workdir
    with workdir.claim_workdir(tmp_path, tiny()):
        before = content(tmp_path)
        monkeypatch.setattr(workdir, "check_workdir", lambda *_: None)
        with pytest.raises(UserError, match="is training in"):
            claim(tmp_path, tiny(seed=1))
        assert content(tmp_path) == before
    calls = iter([lambda *_: None, check])
    monkeypatch.setattr(workdir, "check_workdir", lambda *words: next(calls)(*words))
    with pytest.raises(UserError, match="holds a run of another config"):
        claim(tmp_path, tiny(seed=1))
    assert content(tmp_path)[pathlib.Path("config.json")] == before[pathlib.Path("config.json")]


HOLD = """
import pathlib, sys, time
from conftest import tiny
from jaxcifar.run import workdir
with workdir.claim_workdir(pathlib.Path(sys.argv[1]), tiny()):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_and_the_error_names_the_holder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT / "tests", stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        name = re.escape(f"process {first.pid} on {socket.gethostname()} is training in {tmp_path}")
        for _ in range(2):  # being refused keeps the name in the lock
            with pytest.raises(UserError, match=name):
                claim(tmp_path, tiny())
        first.kill()
    for _ in range(2):  # neither a killed process nor one that ended holds it
        with workdir.claim_workdir(tmp_path, tiny()):
            assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("command", [predict, release, report])
def test_a_name_that_is_not_utf_8_is_refused_or_shown_in_one_line(command, tmp_path, run):
    """TensorStore cannot open such a path, and no stream can print it."""
    folder = tmp_path / os.fsdecode(b"run\xff")
    with pytest.raises(UserError, match=r"run\\udcff is not UTF-8 in its full path; rename"):
        claim(folder, tiny())
    shutil.copytree(ROOT / "checkpoints" / "released" / "pooled_cnn_lr0.005", folder)
    out = f"--out={tmp_path / os.fsdecode(b'out')}"
    words = [f"--checkpoint={folder}", *([ROOT / "docs" / "demo"] if command is predict else [out])]
    status, text, err = run(command.main, [folder, out] if command is report else words)
    if command is report:
        assert (status, err) == (0, "")
        assert rb"run\udcff" in (tmp_path / "out").read_bytes()
    else:
        assert (status, text) == (2, "")
        assert re.fullmatch(r"error: \S+run\\udcff is not UTF-8 in its full path; rename.*\n", err)


def test_a_folder_that_links_to_itself_is_refused(tmp_path):
    (tmp_path / "run").symlink_to("run")
    with pytest.raises(UserError, match=r"run"):
        claim(tmp_path / "run", tiny())
    with pytest.raises(UserError, match="is not a run's folder"):
        workdir.load_config(tmp_path / "run")


def test_a_misspelt_folder_suggests_the_nearest(tmp_path):
    (tmp_path / "quickstart").mkdir()
    with pytest.raises(UserError, match=r"quikstart does not exist; did you mean .*/quickstart\?"):
        workdir.load_config(tmp_path / "quikstart")


def test_folders_beside_a_workdir_are_new(tmp_path):
    made = [workdir.make_folder_beside(tmp_path / "run", "profile") for _ in range(3)]
    assert [path.name for path in made] == ["run-profile", "run-profile-2", "run-profile-3"]
    assert all(path.is_dir() for path in made)
