"""The published 94 % recipe (airbench94 with Muon) in PyTorch, for comparing speed and accuracy.

It is written from the description (Jordan, arXiv 2404.00498; KellerJordan/cifar10-airbench, 2.59 s
on an A100), as a PyTorch user would run it on a CPU or GPU: channels last, float32 or bfloat16
autocast. The published hyperparameters were tuned on the test set. This module imports no jax.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPOCHS, BATCH, WHITENING_BIAS_EPOCHS = 8, 2000, 3
MUON_RATE, HEAD_RATE, BIAS_RATE, DECAY = 0.24, 0.67, 0.053, 2e-6 * BATCH
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Group(nn.Module):
    """3×3 convolution, max-pool, BatchNorm, GELU, 3×3 convolution, BatchNorm, GELU."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        # PyTorch's momentum is the weight of the new value, so the running average keeps 0.6
        self.norm1, self.norm2 = (nn.BatchNorm2d(c_out, eps=1e-12, momentum=0.4) for _ in "12")
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Net(nn.Module):
    """Frozen whitening, GELU, three groups, global max-pool, linear head without bias."""

    def __init__(self, widths=(64, 256, 256)):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        nn.init.zeros_(self.whiten.bias)
        channels = (24, *widths)
        self.groups = nn.Sequential(*(Group(channels[i], channels[i + 1]) for i in range(3)))
        self.head = nn.Linear(widths[-1], 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x, bias_learns=False):
        bias = self.whiten.bias if bias_learns else self.whiten.bias.detach()
        x = F.gelu(F.conv2d(x, self.whiten.weight, bias))
        x = F.max_pool2d(self.groups(x), 3).flatten(1)
        return self.head(x) / x.shape[1]

    def measure_whitening(self, images):
        """Sets the whitening filters from normalised images [N, 3, 32, 32]."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
        eigenvalues, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (eigenvalues + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.data[:] = torch.cat([filters, -filters])


class Muon(torch.optim.Optimizer):
    """Nesterov momentum orthogonalised by Newton–Schulz, for kernels rescaled to norm √C_out."""

    def __init__(self, params, lr, momentum):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for kernel in group["params"]:
                state = self.state[kernel]
                velocity = state.setdefault("velocity", torch.zeros_like(kernel))
                velocity.mul_(group["momentum"]).add_(kernel.grad)
                direction = kernel.grad.add(velocity, alpha=group["momentum"])
                kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
                kernel.add_(orthogonalise(direction.flatten(1)).view_as(kernel), alpha=-group["lr"])


def orthogonalise(matrix, steps=3):
    """Moves the singular values towards 1 by Newton–Schulz steps."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


def make_optimizers(net: Net) -> tuple[torch.optim.SGD, Muon]:
    """Returns SGD for the biases (the whitening's first) and the head, and Muon for the kernels."""
    biases = [p for n, p in net.named_parameters() if "norm" in n and p.requires_grad]
    sgd = torch.optim.SGD(
        [
            {"params": params, "lr": rate, "weight_decay": DECAY / rate}
            for params, rate in (
                ([net.whiten.bias], BIAS_RATE),
                (biases, BIAS_RATE),
                ([net.head.weight], HEAD_RATE),
            )
        ],
        momentum=0.85,
        nesterov=True,
    )
    return sgd, Muon([p for p in net.groups.parameters() if p.ndim == 4], MUON_RATE, 0.6)


class Recipe:
    """The recipe with its data on the device; `run` trains a new network from scratch."""

    def __init__(self, train: Any, test: Any, bfloat16: bool, epochs: int = EPOCHS):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.bfloat16, self.epochs = bfloat16, epochs
        self.train, self.test = (self._place(*split) for split in (train, test))

    def _place(self, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(self.device)
        mean, std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (MEAN, STD))
        x = ((x.float() / 255 - mean) / std).to(memory_format=torch.channels_last)
        return x, torch.from_numpy(labels.astype(np.int64)).to(self.device)

    def device_name(self) -> str:
        """Returns "cpu", or the name of the GPU."""
        return torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def _autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def run(self, seed: int, clock: Callable[[], float]) -> dict[str, float]:
        """Trains and scores once; returns the seconds and accuracies.

        `train_seconds` include the whitening, `views_seconds` are for scoring.
        """
        torch.manual_seed(seed)
        self._wait()
        began = clock()
        net = Net().to(self.device, memory_format=torch.channels_last)
        net.measure_whitening(self.train[0][:5000])
        self._train(net.train())
        self._wait()
        trained = clock()
        plain, views = self._score(net.eval())
        self._wait()
        done = clock()
        return {
            "train_seconds": trained - began,
            "views_seconds": done - trained,
            "accuracy": views,
            "accuracy_one_view": plain,
        }

    def _train(self, net: Net) -> None:
        images, labels = self.train
        sgd, muon = make_optimizers(net)
        base = [group["lr"] for group in sgd.param_groups]
        per_epoch = len(labels) // BATCH
        total, whitening_steps = self.epochs * per_epoch, WHITENING_BIAS_EPOCHS * per_epoch
        flipped = torch.rand(len(labels), device=self.device) < 0.5
        step = 0
        for epoch in range(self.epochs):
            order = torch.randperm(len(labels), device=self.device)
            for i in range(per_epoch):
                index = order[i * BATCH : (i + 1) * BATCH]
                x = augment(images[index], flipped[index] ^ bool(epoch % 2))
                with self._autocast():
                    logits = net(x, bias_learns=step < whitening_steps)
                F.cross_entropy(
                    logits.float(), labels[index], label_smoothing=0.2, reduction="sum"
                ).backward()
                left = 1 - step / total
                for group, rate in zip(sgd.param_groups, base, strict=True):
                    group["lr"] = rate * left
                sgd.param_groups[0]["lr"] = base[0] * max(0.0, 1 - step / whitening_steps)
                muon.param_groups[0]["lr"] = MUON_RATE * left
                sgd.step()
                muon.step()
                net.zero_grad(set_to_none=True)
                step += 1

    @torch.no_grad()
    def _score(self, net: Net) -> tuple[float, float]:
        images, labels = self.test
        correct = np.zeros(2)
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            with self._autocast():
                plain = net(x).float()
                padded = F.pad(x, (1,) * 4, "reflect")
                views = [(x, 0.5), (padded[:, :, :32, :32], 0.25), (padded[:, :, 2:, 2:], 0.25)]
                logits = sum(
                    weight * (net(view).float() + net(view.flip(-1)).float())
                    for view, weight in views
                )
            correct += [int((scores.argmax(1) == y).sum()) for scores in (plain, logits)]
        return tuple(float(n) / len(labels) for n in correct)


def augment(x: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Mirrors the images selected by `flip`; shifts by up to 2 pixels with reflected borders."""
    x = torch.where(flip[:, None, None, None], x.flip(-1), x)
    padded = F.pad(x, (2,) * 4, "reflect")
    shifts = torch.randint(0, 5, (len(x), 2), device=x.device)
    out = torch.empty_like(x)
    for dy in range(5):
        for dx in range(5):
            mask = (shifts[:, 0] == dy) & (shifts[:, 1] == dx)
            out[mask] = padded[mask, :, dy : dy + 32, dx : dx + 32]
    return out
