"""ResNet of depth 6n+2 for 32×32 images (He et al. 2015, arXiv 1512.03385, section 4.2)."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcifar.config.fields import Constraint, Injected, NumClasses, Positive, one_of
from jaxcifar.models import layers
from jaxcifar.ops.batch_norm import batch_norm

Array = jax.Array
Depth = Annotated[int, Constraint(lambda n: n >= 8 and n % 6 == 2, "6n+2: 20, 32, 44, 56 …")]
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
    """Returns the paper's convolution without bias, (features, kernel_size, padding, stride=1)."""
    return functools.partial(
        layers.Conv, use_bias=False, kernel_init=he_normal, dtype=dtype, platform=platform
    )


class BasicBlock(nn.Module):
    """conv3×3-BN-ReLU-conv3×3-BN plus a shortcut, then ReLU: [B, H, W, C_in] -> [B, H', W', C].

    Where the shape changes, shortcut "A" takes every second pixel and pads the channels with zeros,
    half on each side, without parameters; "B" is a 1×1 convolution with BN.
    """

    features: int
    stride: int
    shortcut: str
    dtype: Any
    platform: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        conv = paper_conv(self.dtype, self.platform)
        y = conv(self.features, 3, 1, self.stride, name="conv1")(x)
        y = nn.relu(batch_norm(train, self.dtype, "norm1", self.platform)(y))
        y = conv(self.features, 3, 1, name="conv2")(y)
        y = batch_norm(train, self.dtype, "norm2", self.platform)(y)
        if x.shape != y.shape and self.shortcut == "A":
            extra = self.features - x.shape[-1]
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))
        elif x.shape != y.shape:
            x = conv(self.features, 1, 0, self.stride, name="skip")(x)
            x = batch_norm(train, self.dtype, "skip_norm", self.platform)(x)
        return nn.relu(x.astype(y.dtype) + y)


class ResNet(nn.Module):
    """conv3×3, three stages of n basic blocks of widths (w, 2w, 4w), mean, Dense; depth 6n+2."""

    num_classes: NumClasses
    depth: Annotated[Depth, "layers with weights"]
    width: Annotated[Positive, "channels of the first stage; each further stage has twice as many"]
    shortcut: Annotated[
        str,
        one_of(("A", "B")),
        'shortcut where the shape changes: "A" pads with zeros, "B" is a 1×1 convolution',
    ]
    dtype: Injected[Any] = jnp.float32
    platform: Injected[str] = ""
    # torchvision's names -> those of the common CIFAR ResNets
    torch_aliases: ClassVar[Mapping[str, str]] = {"fc": "linear", "downsample": "shortcut"}

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """Images [B, H, W, 3] -> logits [B, num_classes] float32 and no intermediates."""
        x = paper_conv(self.dtype, self.platform)(self.width, 3, 1, name="conv")(x)
        x = nn.relu(batch_norm(train, self.dtype, "norm", self.platform)(x))
        for stage in range(3):
            for block in range((self.depth - 2) // 6):
                stride = 2 if stage and not block else 1
                x = BasicBlock(
                    self.width * 2**stage,
                    stride,
                    self.shortcut,
                    self.dtype,
                    self.platform,
                    name=f"stage{stage}_block{block}",
                )(x, train=train)
        x = layers.Dense(self.num_classes, self.dtype, name="head")(x.mean((1, 2)))
        return x.astype(jnp.float32), {}

    @staticmethod
    def torch_name(module: str) -> str:
        """Returns a module's name in the common CIFAR ResNets in PyTorch."""
        if block := re.fullmatch(r"stage(\d+)_block(\d+)", module):
            return f"layer{int(block[1]) + 1}.{block[2]}"
        return TORCH_NAMES.get(module, module)
