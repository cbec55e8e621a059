"""A data set of ten classes of drawn shapes, which needs no file and no network.

Position, size, angle, colours and polarity (dark on light or light on dark) are random. A linear
model therefore fails, while a small convolutional net succeeds.
"""

from collections.abc import Callable

import numpy as np

from jaxcifar.data.split import SIZE, Dataset, Split, content_sha256, make_dataset

TRAIN = (0, 10_000)  # seed, images
TEST = (1, 2_000)
BLOCK = 500  # images drawn at once, so that temporary arrays fit in the processor's cache


def _box(x: np.ndarray, y: np.ndarray, half_x: float, half_y: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def _wave(u: np.ndarray) -> np.ndarray:
    """Returns the signed distance to stripes of period 1 and width ½, which is a triangle wave."""
    return np.abs(u - np.floor(u) - np.float32(0.5)) - np.float32(0.25)


def _diagonal(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The stripes rise in every second image and fall in the others; mirroring keeps the class."""
    sign = np.where(np.arange(len(x)) % 2, 1, -1).astype(np.float32)[:, None, None]
    return _wave(0.7071 * (x + sign * y))


# class -> signed distance to its shape, negative inside, at coordinates x, y [N, 32, 32] float32,
# centred on the shape and in units of its size.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda x, y: np.sqrt(x * x + y * y) - 0.9,
    "ring": lambda x, y: np.abs(np.sqrt(x * x + y * y) - 0.75) - 0.2,
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "frame": lambda x, y: np.abs(_box(x, y, 0.68, 0.68)) - 0.2,
    "triangle": lambda x, y: np.maximum(0.866 * np.abs(x) - 0.5 * y, y) - 0.5,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95)),
    # The others fill the image; their period is the half-size of the shapes above.
    "horizontal stripes": lambda x, y: _wave(y),
    "vertical stripes": lambda x, y: _wave(x),
    "diagonal stripes": _diagonal,
    "checker": lambda x, y: 4 * _wave(0.7 * x) * _wave(0.7 * y),
}
CLASS_NAMES = tuple(SHAPES)


def load(dir: str) -> Dataset:
    """Returns the data set; `dir` is ignored."""
    train, test = draw(*TRAIN), draw(*TEST)
    origin = "jaxcifar/data/synthetic.py, which draws them"
    return make_dataset("synthetic", origin, CLASS_NAMES, train, test, content_sha256(train, test))


def draw(seed: int, num_images: int) -> Split:
    """Draws images, uint8 [N, 32, 32, 3], and labels, int32 [N], with equal numbers per class.

    The result depends on the arguments alone. Pixels are computed from integer noise with sums,
    products and square roots, which IEEE 754 defines exactly, and with a cosine and a sine per
    image, rounded to float32. The checksum of the data would show a machine that rounds otherwise.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images, dtype=np.int32) % len(SHAPES))
    images = np.empty((num_images, SIZE, SIZE, 3), np.uint8)
    for label, shape in enumerate(SHAPES.values()):
        of_class = np.flatnonzero(labels == label)
        for start in range(0, len(of_class), BLOCK):
            block = of_class[start : start + BLOCK]
            images[block] = _draw_class(rng, shape, len(block))
    return Split(images, labels)


def _draw_class(
    rng: np.random.Generator, shape: Callable[[np.ndarray, np.ndarray], np.ndarray], count: int
) -> np.ndarray:
    """Returns images of one shape, uint8 [count, 32, 32, 3]."""

    def uniform(low: float, high: float, *axes: int) -> np.ndarray:
        return rng.uniform(low, high, (count, *axes)).astype(np.float32)

    size = uniform(7, 11, 1, 1)  # pixels
    angle = rng.uniform(-0.25, 0.25, (count, 1, 1))  # radians
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    pixel = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
    across = (pixel - uniform(11, 21, 1))[:, None, :]
    down = (pixel - uniform(11, 21, 1))[:, :, None]
    x = (cos * across + sin * down) / size
    y = (cos * down - sin * across) / size
    # The edge is blurred over one pixel.
    inside = np.clip(0.5 - shape(x, y) * size, 0, 1)[..., None].astype(np.float32)

    ground = uniform(70, 185, 1, 1, 3)
    # The sign is random in each channel, so that a pixel's mean says nothing about the class.
    step = uniform(30, 90, 1, 1, 3) * rng.choice([-1, 1], (count, 1, 1, 3)).astype(np.float32)
    slope = uniform(-1.5, 1.5, 2, 1, 1, 1)  # shading, per pixel
    shade = slope[:, 0] * (pixel[:, None] - 16)[..., None] + slope[:, 1] * (pixel - 16)[:, None]
    noise = rng.integers(-30, 31, (count, SIZE, SIZE, 3), dtype=np.int8)
    return np.clip(ground + step * inside + shade + noise, 0, 255).astype(np.uint8)
