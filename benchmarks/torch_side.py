"""The PyTorch side of the comparison: the twins, eager or compiled."""

import pathlib
import time
from typing import Any

import torch
import torch_twins
import workers
from torch.nn import functional as F
from workers import Job, time_call

COMPILING_STEPS = 3  # CUDA graphs are recorded after the first step


class TorchSide:
    """A twin with its data resident on the device as uint8.

    "torch" is eager. "torch.compile" compiles the augmentation, the model and its gradient, uses
    channels-last memory and, on a GPU, a fused optimizer. Both compute in the job's type, and
    cuDNN chooses the fastest convolutions for both.
    """

    def __init__(self, job: Job):
        config, train, test = workers.load_inputs(job)
        self._file = pathlib.Path(job.folder, "checkpoint.pt")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU, like XLA
        self._batch_size = config.batch_size
        torch.backends.cudnn.benchmark = True
        self._mean, self._std = (
            torch.tensor(v, device=self._device) for v in (config.augment.mean, config.augment.std)
        )
        self._images, self._labels = (torch.from_numpy(a).to(self._device) for a in train)
        self._labels = self._labels.long()
        self._steps_per_epoch = len(self._labels) // self._batch_size
        self._place_test_images(test)
        compiled = job.side == "torch.compile"
        name = "resnet20" if config.model.name == "resnet" else config.model.name
        fused = True if compiled and self._device == "cuda" else None
        self._model, self._optimizer, self._scheduler = torch_twins.make_twin(
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
        """Returns the constants: version, device, threads and compile time."""
        return {
            "version": torch.__version__,
            "device": self._device,
            "threads": torch.get_num_threads(),
            "compile_seconds": self._compile_seconds,
        }

    def steps(self, count: int) -> list[float]:
        """Returns the seconds of `count` steps; on a GPU, only the mean of an epoch."""
        if self._device == "cuda":
            return [time_call(self._train) / self._steps_per_epoch]
        return self._timed_steps(count + 1)[1:]  # JaxSide does not time the first step either

    def epoch(self) -> dict[str, float]:
        """Returns the seconds of an epoch's training, evaluation and checkpoint."""
        return {
            "train": time_call(self._train),
            "evaluation": time_call(self._evaluate),
            "checkpoint": time_call(self._save),
        }

    def peak_memory_mb(self) -> float:
        """Returns the peak memory so far: of the process on CPU, of the allocations on a GPU."""
        if self._device == "cpu":
            return workers.peak_resident_mb()
        return torch.cuda.max_memory_allocated() / 1e6

    def _place_test_images(self, test: Any) -> None:
        """Keeps the test images padded to whole batches, as JaxSide does."""
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

    def _train(self) -> None:
        self._model.train()
        order = torch.randperm(len(self._labels), device=self._device)
        total = torch.zeros((), device=self._device)
        for index in order.split(self._batch_size)[: self._steps_per_epoch]:
            total += self._step(index)
        total.item()  # waits for the result

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        if self._options["channels_last"]:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._options["bfloat16"]):
            return self._model(x).float()

    @torch.no_grad()
    def _evaluate(self) -> None:
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

    def _save(self) -> None:
        """Saves everything that a run needs to resume, as JaxSide does."""
        parts = {"model": self._model, "optimizer": self._optimizer, "scheduler": self._scheduler}
        torch.save({name: part.state_dict() for name, part in parts.items()}, self._file)
