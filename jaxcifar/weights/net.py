"""A trained net, restored from a checkpoint and ready to predict."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxcifar.errors import UserError
from jaxcifar.run import workdir
from jaxcifar.run.saved_model import read_model
from jaxcifar.training import experiment, state
from jaxcifar.training.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A net's outputs for N images, as NumPy arrays.

    `logits` and `probabilities` (their softmax) are [N, num_classes]. `gates` has the model's named
    intermediates, each [N, …]; it is empty for a model without gates.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    gates: dict[str, np.ndarray]


def name_outputs(class_names: Sequence[str], number: int) -> list[str]:
    """Returns the names of a net's outputs, which may be more than the classes of the data."""
    return [*class_names, *(f"class {i}" for i in range(len(class_names), number))]


@dataclasses.dataclass
class Net:
    """A saved step's weights for evaluation, with the run's parts and class names."""

    parts: experiment.Experiment
    step: int
    variables: dict[str, Any]
    class_names: tuple[str, ...]
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)  # saved with the step
    _predictor: Predictor | None = None

    def predict(self, images: np.ndarray) -> Prediction:
        """Returns logits, probabilities and gates of uint8 images [N, 32, 32, 3].

        The first call compiles. A later call compiles again for another number of images or, above
        a batch, of batches.

        Raises:
          UserError: the images have another type or shape, or a logit is not finite.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or not len(images):
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; expected uint8 [N, 32, 32, 3]"
                " with values 0 to 255, not normalised"
            )
        if self._predictor is None:
            self._predictor = self.parts.predictor(images)
        else:
            self._predictor.set_images(images)
        logits, gates = self._predictor(self.variables)
        if not np.isfinite(logits).all():
            raise UserError(
                "the net's outputs are not finite, because its weights are too large: choose"
                " another --step, or train with a lower learning rate"
            )
        probabilities = jax.nn.softmax(logits.astype(np.float32))
        return Prediction(*jax.tree.map(np.asarray, (logits, probabilities, gates)))


def load_net(checkpoint: str | pathlib.Path, step: str | int = "latest") -> Net:
    """Returns the net of the run in the folder `checkpoint`, at "latest", "best" or a saved step.

    The run's own config determines everything; its optimizer is not needed.

    Raises:
      UserError: the run or step does not exist, is damaged or cannot be read.
    """
    directory = pathlib.Path(checkpoint)
    config = workdir.load_config(directory)
    with workdir.naming(directory):
        parts = experiment.build_experiment(config, to_train=False)
    saved = read_model(directory, str(step), parts.abstract_model())
    variables = state.eval_variables(**saved.model)
    return Net(parts, saved.step, variables, tuple(saved.meta["class_names"]), saved.meta)
