"""Residual nets for 32×32 images: ResNet-20, ResNet-18, wide ResNets.

ResNets are by He et al. (2015, arXiv 1512.03385, section 4.2), wide ones by Zagoruyko and Komodakis
(arXiv 1605.07146).
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import Constraint, Injected, NumClasses, Positive, one_of
from jaxcifar.errors import UserError
from jaxcifar.models import layers
from jaxcifar.ops.batch_norm import batch_norm

Array = jax.Array
AtMost1202 = Constraint(lambda depth: depth <= 1202, "at most 1202")  # the paper's deepest net
AtMost6 = Constraint(lambda stages: len(stages) <= 6, "at most 6 stages")
TORCH_NAMES = {  # of the modules of the common CIFAR ResNets in PyTorch
    "conv": "conv1",
    "norm": "bn1",
    "norm1": "bn1",
    "norm2": "bn2",
    "skip": "shortcut.0",
    "skip_norm": "shortcut.1",
    "head": "linear",
}
# He et al., arXiv 1502.01852: standard deviation √(2/fan_in)
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def paper_conv(dtype: Any, platform: str) -> Callable[..., layers.Conv]:
    """Returns the paper's convolution, which has no bias.

    Call it with (features, kernel_size, padding, stride=1).
    """
    return functools.partial(
        layers.Conv, use_bias=False, kernel_init=he_normal, dtype=dtype, platform=platform
    )


class BasicBlock(nn.Module):
    """Applies conv3×3-BN-ReLU-conv3×3-BN, adds a shortcut and applies ReLU.

    Maps [B, H, W, C_in] to [B, H', W', C]. Where the shape changes, shortcut "A" takes every second
    pixel and pads the channels with zeros, half on each side; it has no parameters. Shortcut "B" is
    a 1×1 convolution with BN.

    With `preactivation` (arXiv 1603.05027) the order is BN-ReLU-conv3×3-BN-ReLU-conv3×3, with no
    ReLU after the sum. Where the shape changes, the shortcut then starts after the first ReLU, and
    "B" has no BN.
    """

    features: int
    stride: int
    shortcut: str
    dtype: Any
    platform: str
    preactivation: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        conv = paper_conv(self.dtype, self.platform)

        def norm(y: Array, name: str) -> Array:
            return batch_norm(train, self.dtype, name, self.platform)(y)

        first = nn.relu(norm(x, "norm1")) if self.preactivation else x
        y = conv(self.features, 3, 1, self.stride, name="conv1")(first)
        y = nn.relu(norm(y, "norm2" if self.preactivation else "norm1"))
        y = conv(self.features, 3, 1, name="conv2")(y)
        y = y if self.preactivation else norm(y, "norm2")
        if x.shape != y.shape and self.shortcut == "A":
            extra = self.features - x.shape[-1]
            x = first[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))
        elif x.shape != y.shape:
            x = conv(self.features, 1, 0, self.stride, name="skip")(first)
            x = x if self.preactivation else norm(x, "skip_norm")
        x = x.astype(y.dtype) + y
        return x if self.preactivation else nn.relu(x)


class ResNet(nn.Module):
    """A 3×3 convolution, stages of basic blocks, a mean and a Dense layer.

    Stage i, counted from 0, has `blocks[i]` blocks of width `width`·`widen`·2^i. The first block of
    every stage but the first halves H and W. By default there are three stages of n blocks. `depth`
    counts the convolutions on the longest path and the Dense layer, which makes 6n+2. With
    `preactivation` it is 6n+4, because wide ResNets are named by their number of convolutions,
    including the shortcut of each stage and without the Dense layer.
    """

    num_classes: NumClasses
    depth: Annotated[int, AtMost1202, "layers with weights; 6n+2, or 6n+4 with preactivation"]
    width: Annotated[Positive, "channels of the first convolution"]
    shortcut: Annotated[
        str,
        one_of(("A", "B")),
        'shortcut where the shape changes: "A" pads with zeros, "B" is a 1×1 convolution',
    ]
    blocks: Annotated[
        Sequence[Positive], AtMost6, "blocks in each stage; () divides the depth among three stages"
    ] = ()
    widen: Annotated[
        Positive,
        "channels of the first stage, as a multiple of width; each later stage has twice as many",
    ] = 1
    preactivation: Annotated[
        bool, "BatchNorm and ReLU before each convolution, as in wide ResNets"
    ] = False
    dtype: Injected[Any] = jnp.float32
    platform: Injected[str] = ""
    # torchvision's names -> those of the common CIFAR ResNets
    torch_aliases: ClassVar[Mapping[str, str]] = {"fc": "linear", "downsample": "shortcut"}

    def __post_init__(self) -> None:
        more = 4 if self.preactivation else 2
        depth = 2 * sum(self.blocks) + more
        if self.blocks and self.depth != depth:
            raise UserError(
                f"config.model.depth is {self.depth}, but config.model.blocks={self.blocks} gives"
                f" a depth of {depth}; set config.model.depth={depth} or change the blocks"
            )
        if not self.blocks and (self.depth < 6 + more or self.depth % 6 != more):
            few = ", ".join(str(6 * n + more) for n in (3, 5, 7, 9))
            raise UserError(
                f"config.model.depth is {self.depth}; expected 6n+{more}, such as {few}; for other"
                " depths set config.model.blocks, the number of blocks in each stage"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, 3] -> logits [B, num_classes] float32 and no intermediates."""

        def norm_and_relu(x: Array) -> Array:
            return nn.relu(batch_norm(train, self.dtype, "norm", self.platform)(x))

        x = paper_conv(self.dtype, self.platform)(self.width, 3, 1, name="conv")(x)
        x = x if self.preactivation else norm_and_relu(x)
        for stage, blocks in enumerate(self.blocks or ((self.depth - 2) // 6,) * 3):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = BasicBlock(
                    self.width * self.widen * 2**stage,
                    stride,
                    self.shortcut,
                    self.dtype,
                    self.platform,
                    self.preactivation,
                    name=f"stage{stage}_block{block}",
                )(x, train=train)
        x = norm_and_relu(x) if self.preactivation else x
        x = layers.mark_last_map(self, x).mean((1, 2))
        x = layers.Dense(self.num_classes, self.dtype, name="head")(x)
        return x.astype(jnp.float32), {}

    @staticmethod
    def torch_name(module: str) -> str:
        """Returns a module's name in the common CIFAR ResNets in PyTorch."""
        if block := re.fullmatch(r"stage(\d+)_block(\d+)", module):
            return f"layer{int(block[1]) + 1}.{block[2]}"
        return TORCH_NAMES.get(module, module)
