import subprocess

import pytest

from jaxcifar.errors import UserError
from jaxcifar.run import provenance


@pytest.mark.parametrize("commit", ["", "0" * 40, "0" * 40 + "+dirty"])
def test_a_copy_without_git_names_its_commit_in_the_environment(tmp_path, monkeypatch, commit):
    monkeypatch.setenv("JAXCIFAR_COMMIT", commit)
    assert provenance.commit_of(tmp_path) == commit


def test_an_invalid_commit_in_the_environment_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCIFAR_COMMIT", "main")
    with pytest.raises(UserError, match="JAXCIFAR_COMMIT is 'main'; expected the 40"):
        provenance.commit_of(tmp_path)


def test_an_untracked_file_is_a_change(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "jaxcifar").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "jaxcifar" / "train.py").write_text("")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    clean = provenance.commit_of(tmp_path)
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("")  # not part of the code
    (tmp_path / "jaxcifar" / "train.pyc").write_text("")
    assert provenance.commit_of(tmp_path) == clean
    for file in ("configs/mine.py", "jaxcifar/mine.py"):
        (tmp_path / file).write_text("")
        assert provenance.commit_of(tmp_path) == clean + "+dirty"
        (tmp_path / file).unlink()
    (tmp_path / "jaxcifar" / "train.py").write_text("changed")
    assert provenance.commit_of(tmp_path) == clean + "+dirty"
