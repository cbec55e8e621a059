"""Logs a run to metrics.jsonl, metrics.csv and TensorBoard, and on the terminal."""

import os
import pathlib
import sys
import time
from typing import Any, Protocol

from jaxcifar.run import metrics, selection
from jaxcifar.system import output


class HasMeans(Protocol):
    """Sums on the device, over the examples that the epoch has seen so far."""

    def means(self) -> dict[str, float]:
        """Returns the means "loss" and "accuracy"; waits for the device."""


class Events:
    """A TensorBoard file of scalars.

    It hides the scalars that earlier files have for `first_step` and later steps. Scalars are
    written synchronously, because tensorboardX's own writer is a thread that dies when the disk is
    full, and the run would then wait for it forever.
    """

    def __init__(self, folder: pathlib.Path, first_step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        start = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), step=first_step, session_log=start))

    def write(self, values: dict[str, float], step: int) -> None:
        """Writes the scalars of a step."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        scalars = Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalars))
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


class RunLog:
    """Writes and prints the metrics of a run; use as a context manager.

    `last_step` is the step that training resumes from; metrics of later epochs are moved aside.
    With `writing=False`, as in all processes but one, nothing is written or printed.
    """

    def __init__(
        self,
        path: pathlib.Path,
        num_epochs: int,
        steps_per_epoch: int,
        last_step: int,
        writing: bool = True,
    ):
        self._folder, self._writing = path, writing
        self.num_epochs, self.steps_per_epoch = num_epochs, steps_per_epoch
        self.lines, ahead = metrics.resume(path, last_step, writing)
        self._warned = any(None in line.values() for line in self.lines)
        self._events = Events(path / "tensorboard", last_step + 1) if writing else None
        self.live = writing and sys.stdout is not None and sys.stdout.isatty()
        self._bar = _make_bar(self.live)
        self._epoch = self._bar.add_task("", total=None, text="")
        total = num_epochs * steps_per_epoch
        self._run = self._bar.add_task("the run", total=total, completed=last_step, text="")
        self._last_update = 0.0
        if ahead:
            where = f"step {last_step:,}" if last_step else "the start (no saved step was found)"
            self.say(f"training resumes from {where}; {ahead} later lines of {metrics.FILE}")
            self.say(f"      were moved to {metrics.ASIDE}")
        if problem := metrics.find_problem(self.lines, last_step // steps_per_epoch):
            self.say(f"warning: {problem}")

    def __enter__(self) -> "RunLog":
        output.attempt(self._bar.start)
        return self

    def __exit__(self, *_: Any) -> None:
        output.attempt(self._bar.stop)
        if self._events:
            self._events.close()

    def progress(self, epoch: int, done: int, sums: HasMeans, examples_per_second: float) -> None:
        """Updates the bar with the means after `done` steps of an epoch, counted from 1."""
        now = time.perf_counter()
        if not self.live or now - self._last_update < 0.2:  # reading `sums` waits for the device
            return
        self._last_update = now
        means = sums.means()
        self._bar.update(
            self._epoch,
            description=f"epoch {epoch}/{self.num_epochs}",
            total=self.steps_per_epoch,
            completed=done,
            text=f"loss {means['loss']:.3f} acc {means['accuracy']:.3f}",
        )
        steps = (epoch - 1) * self.steps_per_epoch + done
        self._bar.update(self._run, completed=steps, text=f"{examples_per_second:,.0f} images/s")

    def show_phase(self, what: str) -> None:
        """Shows in the bar what the run does between steps, such as "compiling"."""
        self._bar.reset(self._epoch, description=what, total=None, text="")

    def write_epoch(self, line: dict[str, Any]) -> None:
        """Writes the metrics of a finished epoch to metrics.jsonl and TensorBoard."""
        line = metrics.without_nonfinite(line)
        self.lines.append(line)
        if not self._events:
            return
        metrics.append(self._folder, line)
        metrics.write_csv(self._folder, self.lines)
        values = {k: v for k, v in line.items() if k not in ("epoch", "step") and v is not None}
        self._events.write(values, line["step"])

    def print_epoch(self) -> None:
        """Prints the metrics of the last epoch; warns the first time that some are not finite."""
        line = self.lines[-1]
        self.say(format_epoch(line, self.num_epochs))
        if skipped := line.get("skipped_updates"):
            self.say(f"      {skipped:,} updates skipped so far: their gradients were not finite")
        bad = [key for key, value in line.items() if value is None]
        if bad and not self._warned and not self.diverged:
            self._warned = True
            self.say(
                f"WARNING: epoch {line['epoch']} has no finite {' or '.join(bad)}; the run will"
                " probably diverge: try a lower learning rate"
            )

    @property
    def diverged(self) -> bool:
        """Whether the run has ended because its training loss is not finite."""
        return metrics.diverged(self.lines)

    def print_diverged(self) -> None:
        """Prints where the run diverged and what to try."""
        line = self.lines[-1]
        first = line["step"] - self.steps_per_epoch + 1
        self.say(
            f"DIVERGED: the training loss is not finite in epoch {line['epoch']} (steps {first:,}"
            f" to {line['step']:,}, rate {format_rate(line)}); the run ends and keeps the"
            " last checkpoint before that epoch"
        )
        self.say(
            "      try, in another --workdir: a lower optimizer.learning_rate, a warm-up,"
            " optimizer.clip_norm=1, optimizer.skip_nonfinite=True"
        )

    def say(self, text: str) -> None:
        """Prints a line, above the progress bar if there is one."""
        if not self._writing:
            return
        if self.live:
            console, text = self._bar.console, output.printable_lines(text)
            output.attempt(
                lambda: console.print(text, highlight=False, markup=False, soft_wrap=True)
            )
        else:
            output.say(text)


def _make_bar(live: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=Console(),  # rich's default console would keep the stdout of its first use
        disable=not live,
        transient=True,
    )


def format_epoch(line: dict[str, Any], num_epochs: int) -> str:
    """Returns the metrics of an epoch as one line; below epoch 1,000 it fits into 80 columns."""
    split = selection.split_of(line)
    parts = [f"epoch {line['epoch']:>{len(str(num_epochs))}}/{num_epochs}"]
    for name, short in (("train", "train"), (split, "val" if split == "validation" else split)):
        if f"{name}_loss" in line:  # not every epoch is evaluated
            loss, accuracy = (format_metric(line[f"{name}_{k}"]) for k in ("loss", "accuracy"))
            parts.append(f"{short} loss {loss} acc {accuracy}")
    seconds = line["seconds"]
    parts.append(f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s")
    return "  ".join(parts)


def format_rate(line: dict[str, Any]) -> str:
    """Returns the learning rate of an epoch; "nan" if it is missing or was not finite."""
    rate = line.get("learning_rate")
    return "nan" if rate is None else f"{rate:.2g}"


def format_metric(value: float | None) -> str:
    """Returns a loss or an accuracy with four decimals; one that was not finite is "   nan"."""
    return "   nan" if value is None else f"{value:.4f}"
