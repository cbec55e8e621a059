"""Augmentation: pure functions (key, images) -> images on whole batches, which a config combines.

Images are uint8 [B, 32, 32, 3] until they are normalised. Operations that resample return float32
on the same scale, 0 to 255.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.config.fields import Constraint, Count, Injected, NonNegative, one_of
from jaxcifar.data.split import SIZE
from jaxcifar.errors import UserError
from jaxcifar.training import boxes, mixing

Array = jax.Array
MIRROR_STREAM = 0x3144  # separates these random numbers from those of all steps but 12,612
ERASING, MIXING = 4, 5  # for `fold_in`, because `split` gives keys to the older operations only

Pixels = Annotated[int, Constraint(lambda n: 0 <= n <= 32, "0 to 32")]
UpToOne = Annotated[float, Constraint(lambda x: 0 < x <= 1, "above 0 and at most 1")]
Mean = Annotated[float, Constraint(lambda x: 0 <= x <= 1, "0 to 1, for pixels divided by 255")]
Three = Constraint(lambda values: len(values) == 3, "three values, one per channel")
Stage = Constraint(lambda s: len(s) == 2 and 0 < s[1] <= 256, "an epoch and a size, 1 to 256")
Rising = Constraint(
    lambda s: not s or (s[0][0] == 0 and rising(s)), "increasing epochs that start at 0"
)
Range = Constraint(lambda s: len(s) == 2 and s[0] <= s[1], "minimum and maximum")
Scale = Constraint(lambda s: not s or Range.holds(s), "minimum and maximum, or () for none")


class Batch(NamedTuple):
    """The input of a step; `indices` are those of its images in the training set."""

    images: Array  # uint8 [B, 32, 32, 3]
    labels: Array  # int32 [B]
    indices: Array  # int32 [B]
    epoch: Array  # int32
    seed: Array  # int32, of the run


def alternating_mirror(seed: Array | int, examples: Array, epoch: Array | int) -> Array:
    """Returns which examples an epoch mirrors, booleans [B].

    The choice is random in epoch 0 and then alternates, so that any two consecutive epochs show
    both versions of an image (Jordan, arXiv 2404.00498).
    """
    stream = jax.random.fold_in(jax.random.key(seed), MIRROR_STREAM)
    bits = jax.vmap(lambda example: jax.random.bits(jax.random.fold_in(stream, example)))(examples)
    return (bits + jnp.asarray(epoch, jnp.uint32)) % 2 == 1


def rising(stages: Sequence[Sequence[int]]) -> bool:
    """Returns whether each stage begins later than the one before."""
    return all(one[0] < other[0] for one, other in itertools.pairwise(stages))


def crop_and_flip(
    key: Array, images: Array, pad: int, flip: bool | Array, reflect: bool = False
) -> tuple[Array, Array]:
    """Shifts images by up to `pad` pixels in each direction and mirrors them with probability ½.

    `flip` may also be booleans [B] that select the images to mirror. Padding, cropping and flipping
    are one gather by row and column indices. Returns the images and `inside` [B, H, W, 1], which is
    False on the border that the shift exposes. The border is 0 or, with `reflect`, a reflection.
    """
    b, h, w, _ = images.shape
    key_rows, key_cols, key_flip = jax.random.split(key, 3)
    rows = jnp.arange(h) + jax.random.randint(key_rows, (b, 1), -pad, pad + 1)
    cols = jnp.arange(w) + jax.random.randint(key_cols, (b, 1), -pad, pad + 1)
    if flip is not False:
        random = jax.random.bernoulli(key_flip, 0.5, (b, 1)) if flip is True else flip[:, None]
        cols = jnp.where(random, cols[:, ::-1], cols)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((cols >= 0) & (cols < w))[:, None, :]
    if reflect:
        rows, cols = (_reflect(i, n) for i, n in ((rows, h), (cols, w)))
    else:
        rows, cols = rows.clip(0, h - 1), cols.clip(0, w - 1)
    images = images[jnp.arange(b)[:, None, None], rows[:, :, None], cols[:, None, :]]
    if reflect:
        return images, inside[..., None]
    return images * inside[..., None].astype(images.dtype), inside[..., None]


def _reflect(index: Array, size: int) -> Array:
    """Reflects indices from −size to 2·size − 1 at the ends 0 and size − 1 into them."""
    last = size - 1
    return abs(last - abs(last - abs(index)))


def bilinear(images: Array, y: Array, x: Array) -> Array:
    """Samples [B, H, W, C] at pixel coordinates y, x [B, H', W']; 0 outside the image."""
    h, w = images.shape[1:3]
    batch = jnp.arange(images.shape[0])[:, None, None]
    top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    total = jnp.zeros((*y.shape, images.shape[-1]))
    for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        weight = (1 - abs(y - i)) * (1 - abs(x - j))
        weight *= (i >= 0) & (i < h) & (j >= 0) & (j < w)
        total += weight[..., None] * images[batch, i.clip(0, h - 1), j.clip(0, w - 1)]
    return total


def random_resized_crop(key: Array, images: Array, scale: Sequence[float], pad: int) -> Array:
    """Resizes a random box of each image to the size of the image, bilinearly.

    As in torchvision, the area of the box is uniform in `scale` times the image's area, and its
    aspect ratio is log-uniform in [3/4, 4/3]. Its position is uniform in the image padded with
    `pad` black pixels.
    """
    b, h, w, _ = images.shape
    keys = jax.random.split(key, 4)
    area = h * w * jax.random.uniform(keys[0], (b, 1), minval=scale[0], maxval=scale[1])
    ratio = jnp.exp(jax.random.uniform(keys[1], (b, 1), minval=-1, maxval=1) * math.log(4 / 3))
    box_h = jnp.sqrt(area / ratio).clip(1, h + 2 * pad)
    box_w = jnp.sqrt(area * ratio).clip(1, w + 2 * pad)
    top = jax.random.uniform(keys[2], (b, 1)) * (h + 2 * pad - box_h) - pad
    left = jax.random.uniform(keys[3], (b, 1)) * (w + 2 * pad - box_w) - pad
    y = (top + (jnp.arange(h) + 0.5) * box_h / h - 0.5).clip(-pad, h - 1 + pad)
    x = (left + (jnp.arange(w) + 0.5) * box_w / w - 0.5).clip(-pad, w - 1 + pad)
    return bilinear(images, *jnp.broadcast_arrays(y[:, :, None], x[:, None, :]))


def rotate(key: Array, images: Array, degrees: float) -> Array:
    """Rotates images about their centre, bilinearly, by an angle uniform in ±degrees.

    Corners that the rotation exposes are black.
    """
    b, h, w, _ = images.shape
    angle = jax.random.uniform(key, (b, 1, 1), minval=-1, maxval=1) * math.radians(degrees)
    y = (jnp.arange(h) - (h - 1) / 2)[None, :, None]
    x = (jnp.arange(w) - (w - 1) / 2)[None, None, :]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return bilinear(images, cos * y - sin * x + (h - 1) / 2, sin * y + cos * x + (w - 1) / 2)


def normalise(images: Array, mean: Sequence[float], std: Sequence[float], dtype: Any) -> Array:
    """Returns (images/255 − mean)/std per channel, as one multiply-add in `dtype`."""
    scale = 1 / (255 * jnp.array(std))
    shift = jnp.array(mean) / jnp.array(std)
    return images.astype(dtype) * scale.astype(dtype) - shift.astype(dtype)


def resize(x: Array, size: int) -> Array:
    """Resizes images [B, H, W, C] to size×size pixels, bilinearly, without antialiasing.

    Weighted sums of constant rows and columns fuse with the operations around them.
    `jax.image.resize` multiplies by small matrices instead, some of which XLA rejects on GPU.
    """
    for axis in (1, 2):
        length = x.shape[axis]
        at = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, length - 1)
        weight = jnp.asarray(at - low, x.dtype).reshape(-1, *[1] * (3 - axis))
        x = x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight
    return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The operations that `config.augment` turns on.

    The order is that of the reports: resized crop → rotation → flip and crop → cutout → normalise →
    random erasing → resize → mixup or cutmix. A value of 0 or () turns an operation off.

    `crop_fill` fills the border that a crop exposes: "black", "reflect", or "mean", for reports
    that crop after normalising. `curriculum` holds pairs (epoch, size): from that epoch on, counted
    from 0, training images are resized to size×size pixels. Mixup and cutmix apply to a fraction
    `mixed_share` of the batches.
    """

    mean: Annotated[Sequence[Mean], Three, "mean of each channel, subtracted from the pixels"]
    std: Annotated[
        Sequence[UpToOne],
        Three,
        "standard deviation of each channel, by which the pixels are divided",
    ]
    flip: Annotated[bool, "mirror each image with probability 1/2"] = False
    crop_pad: Annotated[Pixels, "largest shift of an image in each direction, in pixels"] = 0
    crop_fill: Annotated[
        str,
        one_of(("black", "mean", "reflect")),
        'what fills the border that a shift exposes; "mean" is the mean of each channel',
    ] = "black"
    cutout_size: Annotated[
        Pixels, "side of the square that is cut out of each image, in pixels"
    ] = 0
    resized_crop_scale: Annotated[
        Sequence[UpToOne],
        Scale,
        "area of a random box that is resized to the whole image, as a fraction of the image",
    ] = ()
    resized_crop_pad: Annotated[
        Pixels, "black pixels around the image that the random box may include"
    ] = 0
    rotation_degrees: Annotated[
        float,
        Constraint(lambda x: 0 <= x <= 180, "0 to 180"),
        "largest random rotation, in degrees",
    ] = 0.0
    alternating_flip: Annotated[
        bool, "mirror each image in every second epoch instead of at random"
    ] = False
    curriculum: Annotated[
        Sequence[Annotated[Sequence[Count], Stage]],
        Rising,
        "pairs (epoch, size): from this epoch on, images have this many pixels a side",
    ] = ()
    erasing_share: Annotated[
        float,
        Constraint(lambda x: 0 <= x <= 1, "0 to 1"),
        "fraction of the images in which a random rectangle is erased",
    ] = 0.0
    erasing_area: Annotated[
        Sequence[UpToOne], Range, "area of the erased rectangle, as a fraction of the image"
    ] = (0.02, 0.4)
    mixup_alpha: Annotated[
        NonNegative, "mixup with weights from Beta(alpha, alpha); 0 turns it off"
    ] = 0.0
    cutmix_alpha: Annotated[
        NonNegative, "cutmix with weights from Beta(alpha, alpha); 0 turns it off"
    ] = 0.0
    mixed_share: Annotated[UpToOne, "fraction of the batches that mixup and cutmix change"] = 1.0
    dtype: Injected[Any]

    def __post_init__(self) -> None:
        if self.alternating_flip and not self.flip:
            raise UserError("config.augment.alternating_flip is True, but flip is False; set both")

    def size_of(self, epoch: int) -> int:
        """Returns the side length of the training images in an epoch, counted from 0."""
        return [SIZE, *(size for begin, size in self.curriculum if begin <= epoch)][-1]

    def normalise(self, images: Array) -> Array:
        """Returns normalised images [B, 32, 32, 3] in `dtype`, without augmentation."""
        return normalise(images, self.mean, self.std, self.dtype)

    def train(self, key: Array, batch: Batch, size: int) -> Array:
        """Returns the augmented images of a batch, [B, size, size, 3] in `dtype`."""
        keys, images = jax.random.split(key, 4), batch.images
        if self.resized_crop_scale:
            scale, pad = self.resized_crop_scale, self.resized_crop_pad
            images = random_resized_crop(keys[0], images, scale, pad)
        if self.rotation_degrees:
            images = rotate(keys[1], images, self.rotation_degrees)
        inside = None
        if self.flip or self.crop_pad:
            mirror: bool | Array = self.flip
            if self.alternating_flip:
                mirror = alternating_mirror(batch.seed, batch.indices, batch.epoch)
            reflect = self.crop_fill == "reflect"
            images, inside = crop_and_flip(keys[2], images, self.crop_pad, mirror, reflect)
        if self.cutout_size:
            images = boxes.cutout(keys[3], images, self.cutout_size)
        x = self.normalise(images)
        if inside is not None and self.crop_pad and self.crop_fill == "mean":
            x = jnp.where(inside, x, 0)
        if self.erasing_share:
            erasing_key = jax.random.fold_in(key, ERASING)
            share, area = self.erasing_share, self.erasing_area
            x = boxes.random_erasing(erasing_key, x, self.normalise, share, area)
        return x if size == SIZE else resize(x, size)

    @property
    def mix(self) -> mixing.Mix | None:
        """Returns the function that mixes a batch after `train`; None if mixing is off."""
        return mixing.build_mix(self.mixup_alpha, self.cutmix_alpha, self.mixed_share)
