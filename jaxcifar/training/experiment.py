"""Builds the parts of an experiment from its config, for training, evaluation and benchmarks."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxcifar import data, models
from jaxcifar.config import schema
from jaxcifar.data.split import SHUFFLED, SIZE
from jaxcifar.errors import UserError
from jaxcifar.run.leaves import by_path
from jaxcifar.system import devices
from jaxcifar.training import (
    augment,
    freeze,
    initial,
    losses,
    optim,
    schedules,
    state,
    step,
    views,
)
from jaxcifar.training.augment import Batch
from jaxcifar.training.epoch import TrainLoop, Update
from jaxcifar.training.predictor import Predictor
from jaxcifar.training.state import Carry


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts that a config describes; building them checks the config but reads no data."""

    config: ConfigDict
    model: nn.Module
    loss: losses.Loss
    augment: augment.Augmentation
    evaluation: views.Evaluation
    mesh: Mesh

    def optimizer(
        self, steps_per_epoch: int
    ) -> tuple[optax.GradientTransformation, schedules.Schedule]:
        """Returns the optimizer and its schedule, step -> learning rate.

        Raises:
          UserError: the run is too short for a single update, or two keys contradict each other.
        """
        c = self.config
        if c.num_epochs * steps_per_epoch >= schedules.NEVER:  # the step is an int32
            raise UserError(
                f"config.num_epochs={c.num_epochs} and config.batch_size={c.batch_size} make"
                f" {c.num_epochs * steps_per_epoch:,} steps; expected below {schedules.NEVER:,}"
            )
        if c.accumulate_steps > c.num_epochs * steps_per_epoch:
            raise UserError(
                f"config.accumulate_steps is {c.accumulate_steps}, but config.num_epochs="
                f"{c.num_epochs} makes only {c.num_epochs * steps_per_epoch} steps: the weights"
                " would never be updated"
            )
        schedule = schedules.build_schedule(
            c.schedule, c.optimizer.learning_rate, steps_per_epoch, c.num_epochs
        )
        return optim.build_optimizer(c.optimizer, schedule, c.accumulate_steps), schedule

    def start(
        self,
        optimizer: optax.GradientTransformation,
        images: np.ndarray,
        weights: initial.Weights | None = None,
    ) -> Carry:
        """Returns the state before the first step, placed on the mesh.

        `images`, uint8 [N, 32, 32, 3], are the training images, from which a whitening layer
        measures its statistics. `weights` are the weights of `config.init_from`, if already read.
        """
        count = models.count_whitening_images(self.config.model)
        stride = 1 if self.config.data.source in SHUFFLED else max(1, len(images) // max(count, 1))
        some = images[::stride][:count]  # the first images of sorted data would be of one class
        carry = self.starter(optimizer)(np.int32(self.config.seed), some)
        weights = weights or self.initial_weights()
        if weights is None:
            return carry

        def replace(old: state.State, leaves: dict[str, Any]) -> state.State:
            new = by_path({"params": old.params, "batch_stats": old.batch_stats}) | leaves
            tree = {"batch_stats": {}} | traverse_util.unflatten_dict(new, sep="/")
            ema = None if old.ema is None else tree["params"]
            opt_state = optimizer.init(tree["params"])
            return dataclasses.replace(old, **tree, opt_state=opt_state, ema=ema)

        jitted = jax.jit(replace, out_shardings=devices.replicated(self.mesh))
        return carry._replace(state=jitted(carry.state, weights.leaves))

    def initial_weights(self) -> initial.Weights | None:
        """Reads the weights of `config.init_from`; None if it is off.

        Raises:
          UserError: they cannot be read or do not fit the model.
        """
        if not self.config.init_from:
            return None
        keys = self.config.model.to_dict()
        keys["num_classes"] += 1  # gives only the last layer other shapes
        dtype = models.DTYPES[self.config.compute_dtype]
        model = models.build_model(keys, dtype, devices.platform(self.mesh))
        other = dataclasses.replace(self, model=model)
        like, more = (
            {k: each.abstract_model()[k] for k in ("params", "batch_stats")}
            for each in (self, other)
        )
        shapes = [{p: leaf.shape for p, leaf in by_path(t).items()} for t in (like, more)]
        head = {path for path, shape in shapes[0].items() if shapes[1][path] != shape}
        return initial.read_weights(self.config.init_from, like, head, self.mesh)

    def starter(self, optimizer: optax.GradientTransformation) -> Callable[..., Carry]:
        """Returns a jitted function, (seed, images for whitening) -> random initial state."""

        def create(seed: jax.Array, images: jax.Array) -> Carry:
            carry = self._create(seed, optimizer)
            # always float32: `eigh` does not support bfloat16
            x = augment.normalise(
                images, self.config.augment.mean, self.config.augment.std, jnp.float32
            )
            stats = models.measure_whitening(carry.state.batch_stats, x, self.config.model)
            return Carry(dataclasses.replace(carry.state, batch_stats=stats), carry.sums)

        return jax.jit(create, out_shardings=devices.replicated(self.mesh))

    def abstract_start(self, optimizer: optax.GradientTransformation) -> Carry:
        """Returns the shapes, types and shardings of `start`'s result."""
        shapes = jax.eval_shape(functools.partial(self._create, optimizer=optimizer), 0)
        return devices.place(shapes, self.mesh)

    def abstract_model(self) -> dict[str, Any]:
        """Returns the shapes, types and shardings of {params, batch_stats, ema}."""
        shapes = self.abstract_start(optax.identity()).state
        return {"params": shapes.params, "batch_stats": shapes.batch_stats, "ema": shapes.ema}

    def _create(self, seed: jax.Array | int, optimizer: optax.GradientTransformation) -> Carry:
        # without `to_train`, the section is unchecked and may lack the key
        ema = bool(self.config.optimizer.get("ema_decay", 0))
        sums = losses.zero_sums(self.config.log_norms)
        return Carry(state.create_state(seed, self.model, optimizer, ema), sums)

    def prepare(self, batch: Batch, number: jax.Array, size: int = SIZE) -> step.ModelInputs:
        """Returns the model's inputs for the batch of step `number`."""
        return step.prepare(batch, number, size=size, augment=self.augment)

    def update(self, optimizer: optax.GradientTransformation) -> Update:
        """Returns the update of a step, (state, inputs) -> (state, sums)."""
        return functools.partial(
            step.update,
            model=self.model,
            optimizer=optimizer,
            loss=self.loss,
            ema_decay=self.config.optimizer.ema_decay,
            log_norms=self.config.log_norms,
            frozen=self.config.optimizer.freeze,
        )

    def train_loop(self, split: data.Split, optimizer: optax.GradientTransformation) -> TrainLoop:
        """Returns the training loop over `split`."""
        c = self.config
        return TrainLoop(
            self.prepare,
            self.update(optimizer),
            split,
            c.batch_size,
            c.seed,
            self.mesh,
            self.augment.size_of,
            packed=optim.is_elementwise(c.optimizer) and not c.optimizer.freeze,
        )

    def predictor(self, images: np.ndarray) -> Predictor:
        """Returns the forward pass over `images`, uint8 [N, 32, 32, 3]."""
        forward = functools.partial(
            step.forward, model=self.model, augment=self.augment, views=self.evaluation.views
        )
        return Predictor(forward, images, self.config.batch_size, self.mesh)


def build_experiment(
    config: ConfigDict, *, to_train: bool = True, mesh: Mesh | None = None
) -> Experiment:
    """Returns the parts of `config`, by default for all attached devices.

    `to_train=False` is for evaluation: optimizer and schedule are not checked, and the number of
    devices need not divide the batch size.

    Raises:
      UserError: a key is unknown or missing, a value is wrong, or 32×32 images do not fit the
        model.
    """
    config = schema.complete_config(config, () if to_train else ("optimizer", "schedule"))
    dtype = models.DTYPES[config.compute_dtype]
    mesh = mesh or devices.make_mesh(config.batch_size if to_train else 0)
    experiment = Experiment(
        config=config,
        model=models.build_model(config.model, dtype, devices.platform(mesh)),
        loss=losses.build_loss(config.loss),
        augment=augment.Augmentation(**config.augment, dtype=dtype),
        evaluation=views.Evaluation(**config.evaluation),
        mesh=mesh,
    )
    like = experiment.abstract_model()  # fails if an image is too small for a layer
    leaves = jax.tree.leaves(like)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) * (2 if to_train else 1)
    devices.check_memory(size, "the weights of config.model" + " and their gradient" * to_train)
    if to_train:
        check_pairs(experiment.config)
        check_curriculum(experiment)
        if config.optimizer.freeze:
            freeze.check_patterns(config.optimizer.freeze, like["params"])
    return experiment


def check_pairs(c: ConfigDict) -> None:
    """Raises a UserError if two values of the config are meaningless together."""
    warmup = c.schedule.get("warmup_epochs", 0)  # not every schedule has the key
    if warmup > c.num_epochs:
        raise UserError(
            f"config.schedule.warmup_epochs is {warmup:g}, but config.num_epochs is {c.num_epochs}:"
            " the run would end within its warm-up; set both"
        )
    if c.early_stopping.patience and not c.data.validation:
        raise UserError(
            f"config.early_stopping.patience is {c.early_stopping.patience}, but"
            " config.data.validation is 0: early stopping needs validation images, for example"
            " --config.data.validation=5000"
        )
    weights = len(c.loss.class_weights)
    if weights not in (0, c.model.num_classes):
        raise UserError(
            f"config.loss.class_weights has {weights} weights, but config.model.num_classes is"
            f" {c.model.num_classes}; expected one weight per class"
        )
    if c.schedule.get("floor", 0) > c.optimizer.learning_rate:
        raise UserError(
            f"config.schedule.floor is {c.schedule.floor:g}, above config.optimizer.learning_rate"
            f"={c.optimizer.learning_rate:g}; expected at most that rate"
        )


def check_curriculum(experiment: Experiment) -> None:
    """Raises a UserError if the model cannot train on the image sizes of its curriculum."""
    c, shapes = experiment.config, experiment.abstract_model()
    for epoch, size in c.augment.curriculum:
        images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        variables = {name: shapes[name] for name in ("params", "batch_stats")}
        forward = functools.partial(experiment.model.apply, train=False)
        try:
            jax.eval_shape(forward, variables, images)
        except (UserError, flax.errors.ScopeParamShapeError) as error:
            raise UserError(
                f"config.augment.curriculum has images of {size}×{size} pixels from epoch {epoch}"
                f" on, but the weights of config.model.name={c.model.name} fit {SIZE}×{SIZE} only"
            ) from error


def load_data(config: ConfigDict) -> data.Dataset:
    """Returns the data set of `config`.

    Raises:
      UserError: the data cannot be loaded, are fewer than a batch, have more classes than the
        model, or differ between the processes.
    """
    dataset = data.load_dataset(**config.data)
    devices.check_same({"data checksum": dataset.checksum})
    examples, classes = len(dataset.train.labels), len(dataset.class_names)
    if config.batch_size > examples:
        raise UserError(
            f"config.batch_size is {config.batch_size}; expected at most {examples}, the training"
            f" images left by config.data.validation={config.data.validation} and"
            f" config.data.train_examples={config.data.train_examples}"
        )
    if config.model.num_classes < classes:
        raise UserError(
            f"config.model.num_classes is {config.model.num_classes}, but the data have {classes}"
            f" classes: set --config.model.num_classes={classes}"
        )
    return dataset


def describe_parameters(params: Any) -> str:
    """Returns the number of parameters as text, "269,722 parameters"."""
    return f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"
