import math
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny

from jaxcifar import experiment
from jaxcifar.errors import UserError
from jaxcifar.run.checkpoint import Checkpoints
from jaxcifar.training.state import Carry


def start(**changes):
    parts = experiment.build(tiny(**{"optimizer.ema_decay": 0.9} | changes))
    optimizer, _ = parts.optimizer(steps_per_epoch=4)
    return parts.start(optimizer)


@pytest.fixture(scope="module")
def like():
    """A carry before the first step."""
    return start()


def at(like, step):
    """A carry like the given one, at `step`, with values of its own."""
    state = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), like.state)
    sums = jax.tree.map(lambda x: x + jnp.asarray(2 * step, x.dtype), like.sums)
    return Carry(state, sums)


def save(workdir, like, accuracies):
    with Checkpoints(workdir, writing=True) as checkpoints:
        for step, accuracy in accuracies.items():
            checkpoints.save(at(like, step), {"note": f"of step {step}"}, accuracy)


def restore(workdir, like):
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore_latest(like=like)


def test_what_is_saved_is_restored_bit_for_bit(tmp_path, like):
    odd = at(like, 3)
    kernel = (
        odd.state.params["head"]["dense0"]["kernel"]
        .at[0, :4]
        .set(jnp.array([jnp.nan, jnp.inf, -0.0, 1e-42]))
    )
    odd.state.params["head"]["dense0"]["kernel"] = kernel
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(odd, {"note": ["a", 1]}, 0.5)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.meta(3)["note"] == ["a", 1]
        got = checkpoints.restore_latest(like=like)
        chex.assert_trees_all_equal_structs(got, odd)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(odd), strict=True):
            assert one.dtype == other.dtype
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        model = {k: getattr(like.state, k) for k in ("params", "batch_stats", "ema")}
        restored = checkpoints.restore_model(3, model)
        chex.assert_trees_all_equal(restored["ema"], odd.state.ema)
        chex.assert_trees_all_equal(restored["batch_stats"], odd.state.batch_stats)


def test_nothing_saved_is_none(tmp_path, like):
    assert restore(tmp_path, like) is None


@pytest.mark.parametrize(
    ("accuracies", "kept", "best"),
    [
        ({4: 0.1, 8: 0.9, 12: 0.3, 16: 0.2}, [8, 16], 8),
        ({4: 0.1, 8: 0.2, 12: 0.3}, [12], 12),
        ({4: 0.5, 8: math.nan, 12: math.nan}, [4, 12], 4),
        ({4: 0.5, 8: math.inf, 10: -math.inf}, [4, 10], 4),
        ({4: 0.0, 6: -math.inf}, [4, 6], 4),
    ],
    ids=["best_before", "best_last", "nan", "infinite", "within_an_epoch"],
)
def test_the_latest_and_the_best_are_kept(tmp_path, like, accuracies, kept, best):
    save(tmp_path, like, accuracies)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == kept
        assert checkpoints.best_step() == best
    assert int(restore(tmp_path, like).state.step) == kept[-1]


def test_a_saved_step_is_left_alone(tmp_path, like):
    save(tmp_path, like, {4: 0.5})
    with Checkpoints(tmp_path, writing=True) as checkpoints:
        checkpoints.save(at(like, 4), {"note": "again"}, 0.9)
        assert checkpoints.meta(4)["note"] == "of step 4"


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def largest(directory, pattern):
    return max((f for f in directory.glob(pattern) if f.is_file()), key=lambda f: f.stat().st_size)


DAMAGE = {
    "flipped": lambda step: flip(largest(step, "model/**/d/*")),
    "cut": lambda step: cut(largest(step, "train/**/d/*")),
    "gone": lambda step: largest(step, "model/**/d/*").unlink(),
    "index_flipped": lambda step: flip(largest(step, "model/manifest*")),
    "metadata_cut": lambda step: cut(step / "model" / "_METADATA"),
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


def test_the_same_step_may_be_damaged_twice(tmp_path, like):
    for _ in range(2):
        save(tmp_path, like, {4: 0.9, 8: 0.1})
        DAMAGE["flipped"](tmp_path / "steps" / "8")
        with pytest.warns(UserWarning, match="step 8 is damaged"):
            assert int(restore(tmp_path, like).state.step) == 4


def test_no_flipped_bit_restores_silently(tmp_path, like):
    """Whatever data file it is in: the step is set aside, or nothing that is restored is in it."""
    save(tmp_path, like, {4: 0.9})
    step, found = tmp_path / "steps" / "4", 0
    files = sorted(f for f in step.glob("*/**/d/*") if f.is_file())
    for file in files:
        content = file.read_bytes()
        flip(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = restore(tmp_path, like)
        if got is None:
            (tmp_path / "damaged" / "4").rename(step)
            found += 1
        else:
            chex.assert_trees_all_equal(got, at(like, 4))
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


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"model.widths": (4, 7)}, ["batch_stats/block1/norm/mean", r"\(6,\)", r"\(7,\)"]),
        ({"model.num_blocks": (1, 2)}, ["block2/", "no such leaf"]),
        ({"optimizer.ema_decay": 0.0}, ["ema", "no such leaf"]),
    ],
    ids=str,
)
def test_a_checkpoint_that_does_not_fit_names_the_leaf_and_both_shapes(
    tmp_path, like, change, names
):
    save(tmp_path, like, {4: 0.9})
    with pytest.raises(UserError) as error:
        restore(tmp_path, start(**change))
    for name in names:
        error.match(name)
    assert (tmp_path / "steps" / "4").is_dir()  # it is whole, and stays
