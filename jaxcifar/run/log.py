"""What a run tells while it runs: metrics.jsonl, TensorBoard events, a live bar or plain lines."""

import json
import math
import pathlib
import sys
import time
from typing import Any

from jaxcifar.run import workdir
from jaxcifar.training.losses import Sums


class RunLog:
    """Logs the epochs of one run; use with `with`.

    `last_step` is the step that training goes on from: lines of epochs after it, which a killed
    run had written before their checkpoint was whole, are dropped and will be written again.
    """

    def __init__(self, path: pathlib.Path, num_epochs: int, steps_per_epoch: int, last_step: int):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from tensorboardX import SummaryWriter

        self._file = path / "metrics.jsonl"
        self.num_epochs, self.steps_per_epoch = num_epochs, steps_per_epoch
        self.lines = [x for x in workdir.read_metrics(path) if x["step"] <= last_step]
        workdir.write_text(self._file, "".join(json.dumps(line) + "\n" for line in self.lines))
        self._events = SummaryWriter(str(path / "tensorboard"), purge_step=last_step + 1)
        self.live = sys.stdout.isatty()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            disable=not self.live,
            transient=True,
        )
        total = num_epochs * steps_per_epoch
        self._task = self._bar.add_task(
            "", total=total, completed=last_step, epoch=1, epochs=num_epochs, text=""
        )
        self._shown = 0.0

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()
        self._events.close()

    def progress(self, epoch: int, done: int, sums: Sums, examples_per_second: float) -> None:
        """Shows the running means of epoch `epoch` (from 1) after `done` steps, on a terminal."""
        now = time.perf_counter()
        if not self.live or now - self._shown < 0.2:  # reading `sums` waits for the device
            return
        self._shown = now
        means = sums.means()
        text = f"loss {means['loss']:.3f}  accuracy {means['accuracy']:.3f}"
        self._bar.update(
            self._task,
            completed=(epoch - 1) * self.steps_per_epoch + done,
            epoch=epoch,
            text=f"{text}  {examples_per_second:,.0f} examples/s",
        )

    def epoch(self, line: dict[str, Any]) -> None:
        """Writes the metrics of a finished epoch: one JSON line, TensorBoard scalars, one print."""
        line = {k: None if _bad(v) else v for k, v in line.items()}
        self.lines.append(line)
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for key, value in line.items():
            if key not in ("epoch", "step") and value is not None:
                self._events.add_scalar(key, value, line["step"])
        self.say(format_epoch(line, self.num_epochs))

    def say(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        if self.live:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)


def format_epoch(line: dict[str, Any], num_epochs: int) -> str:
    """Returns the one line that tells of an epoch."""
    held_out = "validation" if "validation_accuracy" in line else "test"
    return (
        f"epoch {line['epoch']:>{len(str(num_epochs))}}/{num_epochs}"
        f"  train loss {number(line['train_loss'])} accuracy {number(line['train_accuracy'])}"
        f"  {held_out} loss {number(line[held_out + '_loss'])}"
        f" accuracy {number(line[held_out + '_accuracy'])}"
        f"  rate {line['learning_rate']:.2g}"
        f"  {line['examples_per_second']:,.0f} examples/s  {line['seconds']:.1f} s"
    )


def number(value: float | None) -> str:
    """Returns a loss or an accuracy to three or four places; a value that was not finite is nan."""
    return "   nan" if value is None else f"{value:.4f}"


def _bad(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
