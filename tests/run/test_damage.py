"""Damaged steps are set aside; other errors stop the run and move nothing."""

import contextlib
import gc
import os
import resource
import warnings

import chex
import pytest
from saving import at, restore, save, start

from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def like():
    """A carry before the first step."""
    return start()


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def replace(file, old, new):
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))


def largest(directory, pattern):
    return max((f for f in directory.glob(pattern) if f.is_file()), key=lambda f: f.stat().st_size)


DAMAGE = {
    "flipped": lambda step: flip(largest(step, "model/**/d/*")),
    "cut": lambda step: cut(largest(step, "train/**/d/*")),
    "gone": lambda step: largest(step, "model/**/d/*").unlink(),
    "index_flipped": lambda step: flip(largest(step, "model/manifest*")),
    "metadata_cut": lambda step: cut(step / "model" / "_METADATA"),
    "metadata_lacks": lambda step: replace(step / "model" / "_METADATA", b"key_type", b"kez_type"),
    "metadata_kind": lambda step: replace(
        step / "model" / "_METADATA", b'"key_type": 2', b'"key_type": 0'
    ),
    "metadata_name": lambda step: replace(step / "model" / "_METADATA", b'"head"', b'"hea`"'),
    "checksums_cut": lambda step: cut(step / "_CHECKPOINT_METADATA"),
    "checksums_lack": lambda step: replace(step / "_CHECKPOINT_METADATA", b"crc32", b"crb32"),
    "words_other": lambda step: replace(step / "_CHECKPOINT_METADATA", b"of step 8", b"of step 9"),
    "custom_gone": lambda step: replace(step / "_CHECKPOINT_METADATA", b"custom_m", b"cuspom_m"),
    "checksums_other": lambda step: replace(
        step / "_CHECKPOINT_METADATA", b'/step": ', b'/step": 1'
    ),
    "metadata_gone": lambda step: (step / "train" / "_METADATA").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_step_is_set_aside_and_the_one_before_restored(tmp_path, like, damage):
    save(tmp_path, like, {4: 0.9, 8: 0.1})
    DAMAGE[damage](tmp_path / "steps" / "8")
    with pytest.warns(UserWarning, match="step 8 is damaged"):
        got = restore(tmp_path, like)
    chex.assert_trees_all_equal(got, at(like, 4))
    assert (tmp_path / "damaged" / "8").is_dir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [4]


def test_a_damaged_step_without_a_manifest_is_refused_and_never_moved(tmp_path, like):
    """Steps saved before there were manifests have none."""
    save(tmp_path, like, {4: 0.9, 8: 0.1})
    step = tmp_path / "steps" / "8"
    (step / "manifest.json").unlink()
    chex.assert_trees_all_equal(restore(tmp_path, like), at(like, 8))
    metrics = (step / "metrics" / "metrics").read_bytes()
    cut(step / "metrics" / "metrics")
    with pytest.raises(UserError, match=r"steps/8: metrics/metrics: .*the step was left in place"):
        Checkpoints(tmp_path, writing=True)
    (step / "metrics" / "metrics").write_bytes(metrics)
    for damage, why in (("flipped", "checksum|DATA_LOSS"), ("gone", "NOT_FOUND|DATA_LOSS|exist")):
        DAMAGE[damage](step)
        with pytest.raises(UserError, match=rf"steps/8: .*({why}).*move its folder away"):
            restore(tmp_path, like)
    assert step.is_dir()
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("name", ["a[1]", "what?", "all*"])
def test_a_folder_whose_name_is_a_pattern_is_refused_before_training(tmp_path, name):
    """Orbax reads the path as a pattern when it merges shards, and finds nothing."""
    with pytest.raises(UserError, match=r"one of the characters \* \? \[ in its full path"):
        Checkpoints(tmp_path / name, writing=True)
    assert not (tmp_path / name).exists()


def test_the_same_step_can_be_damaged_twice(tmp_path, like):
    for _ in range(2):
        save(tmp_path, like, {4: 0.9, 8: 0.1})
        DAMAGE["flipped"](tmp_path / "steps" / "8")
        with pytest.warns(UserWarning, match="step 8 is damaged"):
            assert int(restore(tmp_path, like).state.step) == 4


def test_no_flipped_bit_restores_silently(tmp_path, like):
    """In any data file, a flipped bit is noticed or affects nothing that is restored."""
    save(tmp_path, like, {4: 0.9})
    step, found = tmp_path / "steps" / "4", 0
    files = sorted(f for f in step.glob("*/**/d/*") if f.is_file())
    for file in files:
        content = file.read_bytes()
        flip(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                chex.assert_trees_all_equal(restore(tmp_path, like), at(like, 4))
            except UserError as error:
                assert "no intact step is left" in str(error)  # noqa: PT017
                (tmp_path / "damaged" / "4").rename(step)
                found += 1
        file.write_bytes(content)
    assert found >= 2  # the values of `model` and of `train`


@pytest.mark.parametrize("damage", ["flipped", "gone", "metadata_cut"])
def test_evaluation_of_a_damaged_step_is_refused(tmp_path, like, damage):
    save(tmp_path, like, {4: 0.9})
    DAMAGE[damage](tmp_path / "steps" / "4")
    model = {k: getattr(like.state, k) for k in ("params", "batch_stats", "ema")}
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match=r"4 is damaged"):
        checkpoints.restore_model(4, model)
    assert (tmp_path / "steps" / "4").is_dir()  # reading moves nothing


def test_metrics_that_cannot_be_decoded_are_damage(tmp_path, like):
    save(tmp_path, like, {4: 0.9, 8: 0.1})
    cut(tmp_path / "steps" / "8" / "metrics" / "metrics")
    with pytest.raises(UserError, match="step 8 is damaged"):
        Checkpoints(tmp_path)
    with pytest.warns(UserWarning, match="step 8 is damaged"):
        assert int(restore(tmp_path, like).state.step) == 4


def content(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def link_to_itself(file):
    """Makes a file unreadable for everyone: an error of the system, not of the content."""
    kept = file.with_name(file.name + ".kept")
    file.rename(kept)
    file.symlink_to(file)
    return lambda: kept.replace(file)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, like):
    """A folder with two steps, in which the tests below must move nothing."""
    folder = tmp_path_factory.mktemp("saved")
    save(folder, like, {4: 0.9, 8: 0.1})
    before = content(folder)
    yield folder
    assert content(folder) == before
    chex.assert_trees_all_equal(restore(folder, like), at(like, 8))


FILES = ["model/d/*", "model/ocdbt.process_0/d/*", "model/manifest.ocdbt", "train/_METADATA"]


@pytest.mark.parametrize("pattern", [*FILES, "_CHECKPOINT_METADATA", "metrics/metrics"])
def test_a_file_that_cannot_be_read_stops_the_run_and_moves_nothing(saved, like, pattern):
    mend = link_to_itself(largest(saved / "steps" / "8", pattern))
    with pytest.raises(UserError, match=r"cannot read .*Too many levels of symbolic links"):
        restore(saved, like)
    mend()


ORBAX = "orbax.checkpoint.experimental.v1._src"


PLACES = [
    "orbax.checkpoint.PyTreeCheckpointHandler.metadata",
    f"{ORBAX}.handlers.pytree_handler.PyTreeHandler.load",
    f"{ORBAX}.training.checkpointer.Checkpointer.load_checkpointables",
    "jaxcifar.run.metadata.read",
]


PASSING = {
    "disk": OSError(5, "Input/output error"),
    "permission": PermissionError(13, "Permission denied"),
    "memory": MemoryError("cannot allocate"),
    "status": ValueError("UNKNOWN: Input/output error [os_error_code='5']"),
    "stale": ValueError("FAILED_PRECONDITION: Failed to open [os_error_code='116']"),
    "device": RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"),
    "ours": TypeError("a bug"),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_error_that_is_not_about_content_moves_nothing(saved, like, place):
    for error in PASSING.values():

        def fail(*_, error=error, **__):
            raise error

        with pytest.MonkeyPatch.context() as patch, Checkpoints(saved) as checkpoints:
            patch.setattr(place, fail)
            with pytest.raises(UserError, match=r"cannot read .*/steps/8: "):
                checkpoints.restore_latest(like)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <function BaseEventLoop.__del__")
def test_too_many_open_files_are_no_damage(saved, like):
    limits, opened = resource.getrlimit(resource.RLIMIT_NOFILE), []
    with Checkpoints(saved) as checkpoints:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(UserError, match=r"cannot read .*/steps/8: .*Too many open files"):
            checkpoints.restore_latest(like)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in opened:
            os.close(descriptor)
    gc.collect()  # an event loop that could not be created warns when collected


def test_a_run_whose_steps_are_all_damaged_does_not_restart_silently(tmp_path, like):
    save(tmp_path, like, {4: 0.9, 8: 0.1})
    for step in (4, 8):
        DAMAGE["flipped"](tmp_path / "steps" / str(step))
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(UserError, match=r"no intact step is left .*\(4, 8\).*move that folder away"),
    ):
        restore(tmp_path, like)
    with pytest.raises(UserError, match="no intact step is left"):  # nor at the next start
        restore(tmp_path, like)
    (tmp_path / "damaged").rename(tmp_path / "away")
    assert restore(tmp_path, like) is None


def test_a_full_disk_is_reported_in_one_line(tmp_path, like, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    save(tmp_path, like, {4: 0.9})
    saving = f"{ORBAX}.training.checkpointer.Checkpointer.save_checkpointables_async"
    monkeypatch.setattr(saving, fail)
    with pytest.raises(UserError, match=r"cannot save in .*No space left"):
        save(tmp_path, like, {8: 0.1})
    monkeypatch.undo()
    chex.assert_trees_all_equal(restore(tmp_path, like), at(like, 4))
