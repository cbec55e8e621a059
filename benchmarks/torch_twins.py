"""PyTorch twins of three of this project's nets, for comparing speed and accuracy.

They are written as a PyTorch user would write them. `make_twin(name)` returns a model with its
optimizer, `train_step` runs one step, and `augment` prepares a whole batch on the model's device
from uint8 images in memory, which is faster than a loader that decodes images one by one.
Everything runs on a CPU or a GPU.
"""

from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, MultiStepLR

PARAMETERS = {"adaptive": 9_483_636, "resnet20": 269_722, "simple_cnn": 82_030}


class AdaptiveBlock(nn.Module):
    """K parallel convolutions, weighted per image by a linear gate on the channel means."""

    def __init__(self, in_channels, out_channels, k=6, dropout=0.1):
        super().__init__()
        self.gate = nn.Linear(in_channels, k)
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, 3, padding=1) for _ in range(k)
        )
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        a = self.gate(x.mean((2, 3)))
        y = 0
        for k, conv in enumerate(self.convs):
            y = y + a[:, k, None, None, None] * self.pool(self.dropout(F.relu(conv(x))))
        return self.norm(y)


class Adaptive(nn.Module):
    """Report 000: four adaptive blocks, then an MLP on the channel means."""

    def __init__(self, widths=(64, 128, 256, 512), k=6, dropout=0.1, num_classes=10):
        super().__init__()
        self.blocks = nn.Sequential(
            *(AdaptiveBlock(i, o, k, dropout) for i, o in pairwise((3, *widths)))
        )
        self.head = nn.Sequential(
            nn.Linear(widths[-1], 256), nn.ReLU(),
            nn.Linear(256, 128), nn.ReLU(),
            nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, num_classes),
        )  # fmt: skip

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3)))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a parameter-free shortcut (option A)."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.stride, self.pad = stride, (out_channels - in_channels) // 2

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.stride > 1 or self.pad:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class ResNet(nn.Module):
    """The CIFAR-10 ResNet of He et al. (2015), of depth 6n+2."""

    def __init__(self, depth=20, num_classes=10):
        super().__init__()
        n = (depth - 2) // 6
        layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        width = 16
        for out in (16, 32, 64):
            for _ in range(n):
                layers.append(BasicBlock(width, out, out // width))
                width = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_classes)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class SimpleCNN(nn.Sequential):
    """Report 003's small convolutional network."""

    def __init__(self, num_classes=10):
        super().__init__(
            nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(576, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, num_classes),
        )  # fmt: skip


def make_twin(
    name, device="cpu", channels_last=False, fused=None, steps_per_epoch=390, epochs=None
):
    """Returns the model, its optimizer and its scheduler, which advances after each step."""
    model = {"adaptive": Adaptive, "resnet20": ResNet, "simple_cnn": SimpleCNN}[name]().to(device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if name == "adaptive":
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=fused)
        warmup, total = 5 * steps_per_epoch, (epochs or 50) * steps_per_epoch

        def factor(step):
            if step < warmup:
                return step / warmup
            progress = (step - warmup) / max(1, total - warmup)
            return 0.5 * (1 + torch.cos(torch.tensor(torch.pi * progress)).item())

        return model, optimizer, LambdaLR(optimizer, factor)
    lr = {"resnet20": 0.1, "simple_cnn": 0.01}[name]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4, fused=fused
    )
    if name == "resnet20":
        milestones = [e * steps_per_epoch for e in (50, 100, 150)]
        return model, optimizer, MultiStepLR(optimizer, milestones)
    return model, optimizer, ConstantLR(optimizer, factor=1.0)


def augment(images, mean, std, pad=4, train=True):
    """Flips and crops a uint8 batch [B, H, W, C] on its device, and normalises it to NCHW floats.

    `mean` and `std` are tensors [C] on that device; creating them here would block the host once
    per batch.
    """
    b, h, w, _ = images.shape
    if train:
        device = images.device
        rows = torch.arange(h, device=device) + torch.randint(2 * pad + 1, (b, 1), device=device)
        cols = torch.arange(w, device=device).expand(b, w)
        cols = torch.where(torch.rand(b, 1, device=device) < 0.5, cols.flip(1), cols)
        cols = cols + torch.randint(2 * pad + 1, (b, 1), device=device)
        padded = F.pad(images, (0, 0, pad, pad, pad, pad))
        batch = torch.arange(b, device=device)[:, None, None]
        images = padded[batch, rows[:, :, None], cols[:, None, :]]
    x = images.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return x.sub_(mean.view(1, -1, 1, 1)).div_(std.view(1, -1, 1, 1))


def train_step(model, optimizer, scheduler, x, labels, *, channels_last=False, bfloat16=False):
    """Runs one optimizer step on a prepared batch; returns its loss, still on the device."""
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16) if bfloat16 else nullcontext():
        loss = F.cross_entropy(model(x), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    scheduler.step()
    return loss.detach()


def count_parameters(model):
    """Returns the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
