"""PyTorch's side of the comparison: the twins, eager or compiled."""

import pathlib
import time
from typing import Any

import torch
import torch_twins
import workers
from torch.nn import functional as F
from workers import Job

COMPILING_STEPS = 3  # CUDA graphs are recorded after the first


class TorchSide:
    """A twin with its data resident on the device, as uint8.

    "torch" is eager. "torch.compile" compiles the augmentation, and the model and its gradient,
    channels last, with a fused optimizer on a GPU; either computes in bfloat16 where the job says
    so, and lets cuDNN choose the fastest convolutions.
    """

    def __init__(self, job: Job):
        config, train, test = workers.inputs(job)
        self._file = pathlib.Path(job.folder, "checkpoint.pt")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as XLA does
        self._batch_size = config.batch_size
        torch.backends.cudnn.benchmark = True
        self._mean, self._std = (
            torch.tensor(v, device=self._device) for v in (config.augment.mean, config.augment.std)
        )
        self._images, self._labels = (torch.from_numpy(a).to(self._device) for a in train)
        self._labels = self._labels.long()
        self._steps_per_epoch = len(self._labels) // self._batch_size
        self._place_test(test)
        compiled = job.side == "torch.compile"
        name = "resnet20" if config.model.name == "resnet" else config.model.name
        fused = True if compiled and self._device == "cuda" else None
        self._model, self._optimizer, self._scheduler = torch_twins.twin(
            name, self._device, compiled, fused, self._steps_per_epoch, config.num_epochs
        )
        self._augment = torch_twins.augment
        self._options = {"channels_last": compiled, "bfloat16": job.dtype == "bfloat16"}
        self._compile_seconds = None
        if compiled:
            self._augment = torch.compile(self._augment)
            self._model = torch.compile(self._model, mode=job.compile_mode)
            self._compile_seconds = sum(self._timed_steps(COMPILING_STEPS))

    def facts(self) -> dict[str, Any]:
        """Returns what does not vary."""
        return {
            "version": torch.__version__,
            "device": self._device,
            "threads": torch.get_num_threads(),
            "compile_seconds": self._compile_seconds,
        }

    def steps(self, count: int) -> list[float]:
        """Returns the seconds of `count` steps; on a GPU, an epoch's mean alone."""
        if self._device == "cuda":
            return [self._train() / self._steps_per_epoch]
        return self._timed_steps(count + 1)[1:]  # the first is not timed on our side either

    def epoch(self) -> dict[str, float]:
        """Returns the seconds of an epoch's training, of its evaluation, and of its checkpoint."""
        return {
            "train": self._train(),
            "evaluation": self._evaluate(),
            "checkpoint": self._save(),
        }

    def peak_memory_mb(self) -> float:
        """Returns the peak memory so far: the GPU's allocations, or the process on CPU."""
        if self._device == "cpu":
            return workers.peak_resident_mb()
        return torch.cuda.max_memory_allocated() / 1e6

    def _place_test(self, test: Any) -> None:
        """Keeps the test images padded to whole batches, as our side does."""
        self._num_test = len(test.labels)
        padded = -(-self._num_test // self._batch_size) * self._batch_size
        images, labels = (torch.from_numpy(a).to(self._device) for a in test)
        padding = padded - self._num_test
        self._test_images = torch.cat([images, images.new_zeros(padding, *images.shape[1:])])
        self._test_labels = labels.long()

    def _step(self, index: torch.Tensor) -> torch.Tensor:
        x = self._augment(self._images[index], self._mean, self._std)
        return torch_twins.train_step(
            self._model,
            self._optimizer,
            self._scheduler,
            x,
            self._labels[index],
            **self._options,
        )

    def _timed_steps(self, count: int) -> list[float]:
        self._model.train()
        times = []
        for _ in range(count):
            index = torch.randint(len(self._labels), (self._batch_size,), device=self._device)
            began = time.perf_counter()
            self._step(index).item()
            times.append(time.perf_counter() - began)
        return times

    def _train(self) -> float:
        began = time.perf_counter()
        self._model.train()
        order = torch.randperm(len(self._labels), device=self._device)
        total = torch.zeros((), device=self._device)
        for index in order.split(self._batch_size)[: self._steps_per_epoch]:
            total += self._step(index)
        total.item()  # waits for it
        return time.perf_counter() - began

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        if self._options["channels_last"]:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._options["bfloat16"]):
            return self._model(x).float()

    @torch.no_grad()
    def _evaluate(self) -> float:
        began = time.perf_counter()
        self._model.eval()
        loss = torch.zeros((), device=self._device)
        correct = torch.zeros((), device=self._device, dtype=torch.long)
        batches = zip(
            self._test_images.split(self._batch_size),
            self._test_labels.split(self._batch_size),
            strict=True,
        )
        for images, labels in batches:
            x = self._augment(images, self._mean, self._std, train=False)
            logits = self._logits(x)[: len(labels)]
            loss += F.cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
        loss.item(), correct.item()
        return time.perf_counter() - began

    def _save(self) -> float:
        """Saves all that a run needs to go on, as our side does, and waits for it."""
        began = time.perf_counter()
        parts = {"model": self._model, "optimizer": self._optimizer, "scheduler": self._scheduler}
        torch.save({name: part.state_dict() for name, part in parts.items()}, self._file)
        return time.perf_counter() - began
