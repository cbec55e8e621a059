"""The train step and the loops that run it: which examples, how often, in which order."""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import config_of, random_images, tiny
from parts import parts_of

from jaxcifar import data
from jaxcifar.run.progress import RunLog
from jaxcifar.system import devices
from jaxcifar.training import experiment, losses, optim, trainer
from jaxcifar.training.augment import Batch
from jaxcifar.training.epoch import TrainLoop
from jaxcifar.training.predictor import Predictor
from jaxcifar.training.state import Carry


def numbered_images(n):
    """Returns images that encode their index."""
    images = np.zeros((n, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(n), 256)
    return images


def index_of(images):
    return images[:, 0, 0, 0].astype(jnp.int32) * 256 + images[:, 0, 0, 1]


@pytest.fixture(params=[False, True], ids=["python_loop", "scan"])
def scanned(request, monkeypatch):
    """Runs both kinds of loop on CPU."""
    monkeypatch.setattr(devices, "is_accelerated", lambda mesh: request.param)
    return request.param


@pytest.mark.parametrize("batch_size", [7, 50, 300, 512])
def test_predictor_sees_each_image_once_and_in_order(batch_size, scanned):
    def forward(variables, images):
        assert images.shape[0] == min(batch_size, 300)  # one shape, whatever is left over
        index = index_of(images)
        return variables + index[:, None], {"gate": jnp.stack([index, -index], 1)}

    mesh = devices.make_mesh(batch_size)
    predict = Predictor(forward, numbered_images(300), batch_size, mesh)
    logits, gates = predict(jnp.int32(1000))
    np.testing.assert_array_equal(logits, 1000 + np.arange(300)[:, None])
    np.testing.assert_array_equal(gates["gate"], np.arange(300)[:, None] * [[1, -1]])


class Seen(NamedTuple):
    """Replaces the training state: how often, and at which step, each example was seen."""

    step: Any
    count: Any
    at: Any


def no_augmentation(batch, step, size):
    return batch


def test_shapes_compile_to_the_same_program_as_data(scanned):
    """Shapes allow compiling for devices that are not attached."""
    mesh, sums = devices.make_mesh(20), losses.zero_sums()
    split = data.Split(numbered_images(60), np.arange(60, dtype=np.int32))
    shapes = data.Split(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in split))

    def update(state, batch):
        added = batch.images.sum() + batch.labels.sum() * batch.seed
        return Seen(state.step + 1, state.count + added, state.at), sums

    def forward(variables, images):
        return variables + images.sum(axis=(1, 2)), {}

    start = devices.place(Carry(Seen(*[jnp.int32(0)] * 3), sums), mesh)
    texts = []
    for given in (split, shapes):
        loop = TrainLoop(no_augmentation, update, given, 20, 0, mesh)
        predict = Predictor(forward, given.images, 20, mesh)
        compiled = loop.program(start, 2, 32), predict.program(1.0)
        text = "\n".join(program.as_text() for program in compiled)
        lines = [line for line in text.splitlines() if " = " in line]
        # without source locations
        texts.append([line.partition(", metadata=")[0] for line in lines])
    assert texts[0] == texts[1] != []


@pytest.mark.parametrize("batch_size", [7, 10, 60])
def test_an_epoch_takes_full_batches_of_distinct_examples(batch_size, scanned):
    n = 60
    split = data.Split(numbered_images(n), np.arange(n, dtype=np.int32))

    def update(state, batch):
        index = index_of(batch.images)
        right = (index == batch.labels) & (index == batch.indices)
        right &= batch.epoch == state.step // (n // batch_size)
        count = state.count.at[index].add(jnp.where(right, 1, 100))
        at = state.at.at[index].set(state.step)
        sums = losses.Sums(jnp.float32(0), jnp.int32(0), jnp.int32(batch_size))
        return Seen(state.step + 1, count, at), sums

    mesh = devices.make_mesh(batch_size)

    def epochs(seed):
        loop = TrainLoop(no_augmentation, update, split, batch_size, seed, mesh)
        seen = Seen(jnp.int32(0), jnp.zeros(n, jnp.int32), jnp.full(n, -1, jnp.int32))
        carry = devices.place(Carry(seen, losses.zero_sums()), mesh)
        used, orders = n // batch_size * batch_size, []
        for epoch in range(1, 4):
            before = np.array(carry.state.count)
            carry = loop.run(carry, lambda *_: True)
            new = np.array(carry.state.count) - before
            assert sorted(np.unique(new).tolist()) in ([1], [0, 1])
            assert new.sum() == used == int(carry.sums.examples)  # of this epoch alone
            assert int(carry.state.step) == epoch * (n // batch_size)
            orders.append(np.array(carry.state.at).tolist())
        return orders

    one, again, other = epochs(0), epochs(0), epochs(1)
    assert one == again  # a function of the seed and the epoch
    if batch_size < n:
        assert len({tuple(order) for order in one + other}) == 6


NET = {
    "model.branch_dropout": 0.2,
    "accumulate_steps": 3,
    "optimizer.ema_decay": 0.9,
    "log_norms": True,
    "augment.cutout_size": 8,
    "augment.erasing_share": 0.5,
    "augment.mixup_alpha": 0.4,
    "augment.cutmix_alpha": 1.0,
}


def test_the_scan_equals_the_python_loop(small_data, monkeypatch):
    ends = []
    for accelerated in (False, True):
        monkeypatch.setattr(devices, "is_accelerated", lambda mesh, yes=accelerated: yes)
        _, loop, carry = parts_of(tiny(**NET))
        calls = []
        ends.append(loop.run(carry, lambda sums, done, _, calls=calls: calls.append(done) or True))
        assert calls == ([4] if accelerated else [1, 2, 3, 4])
    chex.assert_trees_all_close(*ends, rtol=1e-4, atol=1e-5)


def test_a_loop_can_resume_within_an_epoch(small_data, scanned):
    if scanned:
        pytest.skip("a scan is not left within an epoch")
    _, loop, carry = parts_of(tiny(**NET))
    whole = loop.run(jax.tree.map(jnp.copy, carry), lambda *_: True)
    part = loop.run(carry, lambda sums, done, seconds: done < 3)
    assert int(part.state.step) == 3
    chex.assert_trees_all_equal(loop.run(part, lambda *_: True), whole)


@pytest.mark.parametrize("accumulate_steps", [1, 3])
def test_averaged_weights_have_their_closed_form(small_data, accumulate_steps):
    """After n updates: d^n·w_0 + (1 − d)·Σ d^(n−i)·w_i; unchanged without an update."""
    config = tiny(**NET | {"optimizer.ema_decay": 0.7, "accumulate_steps": accumulate_steps})
    _, loop, carry = parts_of(config)
    want = jax.tree.map(np.asarray, carry.state.params)
    chex.assert_trees_all_equal(carry.state.ema, want)
    for n in range(1, 5):
        carry = loop.run(carry, lambda *_: False)
        assert int(carry.state.step) == n
        params = jax.tree.map(np.asarray, carry.state.params)
        if n % accumulate_steps == 0:
            want = jax.tree.map(lambda old, new: 0.7 * old + 0.3 * new, want, params)
        chex.assert_trees_all_close(carry.state.ema, want, rtol=1e-5, atol=1e-7)
    assert carry.state.eval_variables()["params"] is carry.state.ema


@pytest.mark.parametrize("accumulate_steps", [1, 3])
def test_a_batch_whose_gradient_is_not_finite_changes_nothing(small_data, accumulate_steps):
    changes = {"optimizer.ema_decay": 0.7, "accumulate_steps": accumulate_steps}
    config = tiny(**NET | changes | {"optimizer.skip_nonfinite": True})
    parts = experiment.build_experiment(config)

    def poisoned(logits, labels):
        return parts.loss.per_example(logits, labels) * jnp.where(labels[0] == 9, jnp.nan, 1)

    optimizer, _ = parts.optimizer(4)
    images = random_images(16, 32, 32, 3)
    carry = parts.start(optimizer, images)
    bad = dataclasses.replace(parts, loss=parts.loss._replace(per_example=poisoned))
    update = jax.jit(bad.update(optimizer))

    def run(batches):
        state, total = carry.state, carry.sums
        for number, first in batches:
            labels = jnp.full(16, first)
            batch = Batch(images, labels, jnp.arange(16), jnp.int32(0), jnp.int32(0))
            state = dataclasses.replace(state, step=jnp.int32(number))
            state, sums = update(state, bad.prepare(batch, state.step))
            total = jax.tree.map(jnp.add, total, sums)
        return state, total

    good = [(0, 1), (2, 3), (3, 4), (6, 2)]
    state, sums = run(sorted([*good, (1, 9), (4, 9), (5, 9)]))
    want, want_sums = run(good)
    assert optim.skipped_updates(state.opt_state) == {"skipped_updates": 3}
    opt_state = state.opt_state._replace(total_notfinite=want.opt_state.total_notfinite)
    chex.assert_trees_all_equal(dataclasses.replace(state, opt_state=opt_state), want)
    chex.assert_trees_all_equal(sums, want_sums)


def test_the_l1_penalty_is_trained_but_not_reported(small_data):
    """One step of plain SGD: the update differs by rate·l1·sign(w), the reported loss does not."""
    plain = {"optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0, "augment.flip": False}
    plain |= {"batch_size": 16, "augment.crop_pad": 0, "data.source": "synthetic"}
    outs, start = [], None
    for l1 in (0.0, 0.01):
        _, loop, carry = parts_of(config_of("simple_cnn.py:base", **plain, **{"loss.l1": l1}))
        start = jax.tree.map(np.asarray, carry.state.params)
        outs.append(loop.run(carry, lambda *_: False))
    assert float(outs[0].sums.loss) == pytest.approx(float(outs[1].sums.loss), rel=1e-6)
    difference = jax.tree.map(jnp.subtract, outs[0].state.params, outs[1].state.params)
    want = jax.tree.map(lambda w: 0.01 * 0.01 * np.sign(w), start)  # the rate is 0.01
    chex.assert_trees_all_close(difference, want, atol=1e-6)


def global_norm(tree):
    return np.sqrt(sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in tree))


def test_norms_are_of_the_gradient_before_clipping_and_of_the_weights(small_data):
    """Plain SGD moves by rate·gradient. With clipping the weights move less, but the logged norm of
    the first step is the same."""
    plain = {"optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0, "loss.l1": 1e-3}
    plain |= {"batch_size": 16, "data.source": "synthetic", "log_norms": True}
    _, loop, carry = parts_of(config_of("simple_cnn.py:base", **plain))
    before, moved = jax.tree.leaves(jax.tree.map(np.asarray, carry.state.params)), []
    for step in range(4):
        carry = loop.run(carry, lambda *_: False)
        after = jax.tree.leaves(jax.tree.map(np.asarray, carry.state.params))
        moved.append(global_norm(a - b for a, b in zip(after, before, strict=True)) / 0.01)
        norms = carry.sums.norms(carry.state.params)
        assert norms["gradient_norm"] == pytest.approx(np.mean(moved), rel=1e-3), step
        assert norms["weight_norm"] == pytest.approx(global_norm(after), rel=1e-6)
        before = after
    _, loop, carry = parts_of(
        config_of("simple_cnn.py:base", **plain | {"optimizer.clip_norm": 1e-3})
    )
    carry = loop.run(carry, lambda *_: False)
    assert carry.sums.norms({})["gradient_norm"] == pytest.approx(moved[0], rel=1e-3)
    assert losses.zero_sums().norms({}) == {}  # not logged unless asked for


@pytest.mark.parametrize(
    "config",
    [
        lambda: tiny(**{"data.train_examples": 16, "optimizer.learning_rate": 0.02}),
        lambda: config_of(
            "resnet20.py",
            **{"model.depth": 8, "model.width": 8, "data.train_examples": 16, "batch_size": 16},
        ),
    ],
    ids=["adaptive", "resnet8"],
)
def test_one_batch_is_learned_by_heart(config, small_data):
    config = config()
    with config.unlocked():
        config.num_epochs = 100
        config.augment.update({"flip": False, "crop_pad": 0})
        config.schedule = {"name": "constant"}
    _, loop, carry = parts_of(config)
    for _ in range(100):
        carry = loop.run(Carry(carry.state, losses.zero_sums()), lambda *_: True)
    assert carry.sums.means()["accuracy"] == 1.0
    assert carry.sums.means()["loss"] < 0.1


def test_nothing_is_compiled_after_the_first_epoch(small_data, monkeypatch, tmp_path):
    compiled, after_epoch, print_epoch = [], [], RunLog.print_epoch

    def count(event, duration, **_):
        compiled.extend([event] * (event == "/jax/core/compile/backend_compile_duration"))

    def count_after_epoch(self):
        print_epoch(self)
        after_epoch.append(len(compiled))

    monkeypatch.setattr(RunLog, "print_epoch", count_after_epoch)
    jax.monitoring.register_event_duration_secs_listener(count)
    config = tiny(num_epochs=4)
    trainer.train(config, tmp_path / "run")
    first, *others = after_epoch
    assert first > 0
    assert len(set(others)) == 1
    assert others[0] == first
