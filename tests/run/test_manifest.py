"""A manifest finds every change to the files it lists, and nothing else."""

import json

import pytest

from jaxcifar.run import manifest


@pytest.fixture
def step(tmp_path):
    (tmp_path / "model" / "d").mkdir(parents=True)
    (tmp_path / "model" / "d" / "data").write_bytes(bytes(range(256)) * 9000)  # over one chunk
    (tmp_path / "_METADATA").write_text("{}")
    (tmp_path / "model" / "commit_success.txt").write_text("saved to /some/machine")
    manifest.write_manifest(tmp_path)
    return tmp_path


def test_unchanged_files_match(step):
    assert manifest.mismatch(step) == ""
    assert set(json.loads((step / manifest.FILE).read_text())) == {"model/d/data", "_METADATA"}


def test_a_step_without_a_manifest_has_no_difference(tmp_path):
    assert manifest.mismatch(tmp_path) == ""


def test_a_file_that_is_not_listed_is_ignored(step):
    (step / "notes").write_text("mine")
    assert manifest.mismatch(step) == ""


@pytest.mark.parametrize("place", [0, 2**20 - 1, 2**20, 256 * 9000 - 1])
def test_one_flipped_bit_is_found(step, place):
    file = step / "model" / "d" / "data"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert manifest.mismatch(step) == "model/d/data is not the file that was saved"


def test_a_shorter_and_a_missing_file_are_found(step):
    file = step / "model" / "d" / "data"
    file.write_bytes(file.read_bytes()[:-1])
    assert "model/d/data is not" in manifest.mismatch(step)
    file.unlink()
    assert manifest.mismatch(step) == "model/d/data is missing"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": ["x", 2]}', "null"])
def test_a_manifest_that_cannot_be_read_is_damage(step, content):
    (step / manifest.FILE).write_text(content)
    assert manifest.mismatch(step) == f"{manifest.FILE} is not a manifest"
