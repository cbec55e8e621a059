"""What a run tells while it runs: metrics.jsonl, TensorBoard events, a live bar or plain lines."""

import os
import pathlib
import sys
import time
from typing import Any, Protocol

from jaxcifar.run import metrics, selection


class HasMeans(Protocol):
    """Sums over the examples of an epoch so far, on the device."""

    def means(self) -> dict[str, float]:
        """Returns their means, "loss" and "accuracy", which waits for the device."""


class Events:
    """TensorBoard's file of scalars; what an earlier run wrote for `first_step` or later is hidden.

    Written at once: tensorboardX's own writer is a thread that dies of a full disk, after which the
    run waits for it for ever.
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
    """Logs the epochs of one run; use with `with`.

    `last_step` is the step that training goes on from: lines of epochs after it are moved aside.
    One that is not `writing`, beside one that is, writes and says nothing.
    """

    def __init__(
        self,
        path: pathlib.Path,
        num_epochs: int,
        steps_per_epoch: int,
        last_step: int,
        writing: bool = True,
    ):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._folder = path
        self.num_epochs, self.steps_per_epoch = num_epochs, steps_per_epoch
        self.lines, ahead = metrics.go_on(path, last_step, writing)
        self._warned = any(None in line.values() for line in self.lines)
        self._events = Events(path / "tensorboard", last_step + 1) if writing else None
        self.live = writing and sys.stdout.isatty()
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
        if ahead:
            where = f"step {last_step:,}" if last_step else "the start: no saved step was found"
            self.say(f"training goes on from {where}; {ahead} later lines of {metrics.FILE}")
            self.say(f"      are now in {metrics.ASIDE}")
        if wrong := metrics.problem(self.lines, last_step // steps_per_epoch):
            self.say(f"warning: {wrong}")

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()
        if self._events:
            self._events.close()

    def progress(self, epoch: int, done: int, sums: HasMeans, examples_per_second: float) -> None:
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
        line = metrics.finite(line)
        self.lines.append(line)
        if not self._events:
            return
        metrics.append(self._folder, line)
        values = {k: v for k, v in line.items() if k not in ("epoch", "step") and v is not None}
        self._events.write(values, line["step"])
        self.say(format_epoch(line, self.num_epochs))
        bad = [key for key, value in line.items() if value is None]
        if bad and not self._warned and not self.diverged:
            self._warned = True
            self.say(
                f"WARNING: {' and '.join(bad)} not finite in epoch {line['epoch']}: the run is"
                " about to diverge, and seldom comes back; try a lower learning rate"
            )

    @property
    def diverged(self) -> bool:
        """Whether the run is over because its training loss is not finite."""
        return metrics.diverged(self.lines)

    def say_diverged(self) -> None:
        """Says where a run diverged and what to try."""
        line = self.lines[-1]
        first = line["step"] - self.steps_per_epoch + 1
        self.say(
            f"DIVERGED: the training loss is not finite in epoch {line['epoch']} (steps {first:,}"
            f" to {line['step']:,}, rate {line['learning_rate']:.2g}); the run ends here and keeps"
            " the step saved before that"
        )
        self.say(
            "      to try, in another --workdir: a lower optimizer.learning_rate, a warm-up,"
            " optimizer.clip_norm=1, optimizer.skip_nonfinite=True"
        )

    def say(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        if not self._events:
            return
        if self.live:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)


def format_epoch(line: dict[str, Any], num_epochs: int) -> str:
    """Returns the one line that tells of an epoch."""
    split = selection.split(line)
    held_out = ""  # not every epoch has to be scored
    if f"{split}_loss" in line:
        loss, accuracy = (number(line[f"{split}_{key}"]) for key in ("loss", "accuracy"))
        held_out = f"  {split} loss {loss} accuracy {accuracy}"
    skipped = f"  skipped {line['skipped_updates']}" if line.get("skipped_updates") else ""
    return (
        f"epoch {line['epoch']:>{len(str(num_epochs))}}/{num_epochs}"
        f"  train loss {number(line['train_loss'])} accuracy {number(line['train_accuracy'])}"
        f"{held_out}{skipped}"
        f"  rate {line['learning_rate']:.2g}"
        f"  {line['examples_per_second']:,.0f} examples/s  {line['seconds']:.1f} s"
    )


def number(value: float | None) -> str:
    """Returns a loss or an accuracy to three or four places; a value that was not finite is nan."""
    return "   nan" if value is None else f"{value:.4f}"
