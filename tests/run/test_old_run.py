"""A run that an earlier version left within an epoch still resumes."""

import tarfile

import chex
import jax
import pytest
from conftest import ROOT, tiny

from jaxcifar.run import metrics
from jaxcifar.training import trainer


def test_a_run_saved_by_the_first_version_resumes(tmp_path):
    """The run was made at commit ee121f8 (TINY, 64 images) and stopped at step 6 of 8.

    On the machine that made it, the final state is equal bit for bit; elsewhere, its first steps
    have the rounding of that machine.
    """
    with tarfile.open(ROOT / "tests" / "run" / "run_of_ee121f8.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    before = metrics.read(tmp_path / "old" / "run")
    assert [line["step"] for line in before] == [4]
    config = tiny(**{"data.train_examples": 64})
    new = trainer.train(config, tmp_path / "new")
    old = trainer.train(config, tmp_path / "old" / "run")
    assert old.finished
    assert old.lines[0] == before[0]
    chex.assert_trees_all_close(old.state, new.state, rtol=1e-3, atol=1e-5)
    bits = [a.tobytes() == b.tobytes() for a, b in zip(*map(arrays, (old, new)), strict=True)]
    print(f"{sum(bits)} of {len(bits)} arrays are equal in every bit")
    for one, other in zip(old.lines, new.lines, strict=True):
        assert one["learning_rate"] == other["learning_rate"]
        assert one["test_loss"] == pytest.approx(other["test_loss"], rel=1e-3)


def arrays(result):
    return jax.tree.leaves(jax.tree.map(jax.device_get, result.state))
