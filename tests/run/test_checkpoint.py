"""Checkpoints: exact restoring, which steps are kept, and which states are refused."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saving import at, restore, save, start

from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.run.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def like():
    """A carry before the first step."""
    return start()


def test_what_is_saved_is_restored_bit_for_bit(tmp_path, like):
    odd = at(like, 3)
    kernel = (
        odd.state.params["head"]["dense0"]["kernel"]
        .at[0, :4]
        .set(jnp.array([jnp.nan, jnp.inf, -0.0, 1e-42]))
    )
    odd.state.params["head"]["dense0"]["kernel"] = kernel
    with Checkpoints(tmp_path, writing=True) as checkpoints:
        checkpoints.save(odd, {"note": ["a", 1]}, 0.5)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.meta(3)["note"] == ["a", 1]
        got = checkpoints.restore_latest(like=like)
        chex.assert_trees_all_equal_structs(got, odd)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(odd), strict=True):
            assert one.dtype == other.dtype
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        model = {k: getattr(like.state, k) for k in ("params", "batch_stats", "ema")}
        with pytest.raises(UserError, match="are not finite"):  # a run may go on, a net is useless
            checkpoints.restore_model(3, model)


def test_the_model_is_restored_without_the_rest(tmp_path, like):
    whole = at(like, 3)
    with Checkpoints(tmp_path, writing=True) as checkpoints:
        checkpoints.save(whole, {}, 0.5)
        model = {k: getattr(like.state, k) for k in ("params", "batch_stats", "ema")}
        checkpoints.wait()
        saved = {k: getattr(whole.state, k) for k in model}
        chex.assert_trees_all_equal(checkpoints.restore_model(3, model), saved)


def test_without_a_saved_step_nothing_is_restored(tmp_path, like):
    with pytest.raises(UserError, match="no checkpoint in"):
        Checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())  # reading creates nothing
    assert restore(tmp_path, like) is None


@pytest.mark.parametrize(
    ("accuracies", "kept", "best"),
    [
        ({4: 0.1, 8: 0.9, 12: 0.3, 16: 0.2}, [8, 12, 16], 8),
        ({4: 0.1, 8: 0.2, 12: 0.3}, [8, 12], 12),
        ({4: 0.5, 8: math.nan, 12: math.nan, 16: math.nan}, [4, 12, 16], 4),
        ({4: 0.5, 8: math.inf, 10: -math.inf, 12: None}, [4, 10, 12], 4),
        ({4: 0.0, 6: None, 8: None}, [4, 6, 8], 4),
        ({4: 0.1, 8: 0.9, 12: 0.9, 16: 0.9, 20: 0.2}, [8, 16, 20], 8),
    ],
    ids=["best_before", "best_last", "nan", "infinite", "within_an_epoch", "equals"],
)
def test_the_two_latest_and_the_first_best_are_kept(tmp_path, like, accuracies, kept, best):
    save(tmp_path, like, accuracies)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == kept
        assert checkpoints.find_step("best") == best
    assert int(restore(tmp_path, like).state.step) == kept[-1]


def test_a_folder_that_only_looks_like_a_step_is_ignored(tmp_path, like):
    save(tmp_path, like, {4: 0.9})
    for name in ("²", "٣", "007"):
        (tmp_path / "steps" / name).mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [4]
    assert workdir.list_steps(tmp_path) == {"4"}


def test_a_saved_step_is_left_alone(tmp_path, like):
    save(tmp_path, like, {4: 0.5})
    with Checkpoints(tmp_path, writing=True) as checkpoints:
        checkpoints.save(at(like, 4), {"note": "again"}, 0.9)
        assert checkpoints.meta(4)["note"] == "of step 4"


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
    assert (tmp_path / "steps" / "4").is_dir()  # it is intact and stays in place
