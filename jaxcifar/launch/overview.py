"""Shows the progress of runs in other processes, read from their metrics."""

import statistics
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from jaxcifar.errors import first_line
from jaxcifar.launch.job import Bundle, Folders, name_of
from jaxcifar.run import metrics, selection
from jaxcifar.run.progress import format_metric
from jaxcifar.system import output


class Overview:
    """Shows a live table on a terminal and prints a line per epoch elsewhere; use with `with`."""

    def __init__(self, folders: Folders) -> None:
        from rich.live import Live

        self._folders = folders
        self._epochs_seen: dict[str, int] = {}
        self._table = Live(auto_refresh=False, transient=True) if sys.stdout.isatty() else None

    def __enter__(self) -> "Overview":
        if self._table:
            self._table.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._table:
            self._table.stop()

    def show(self, running: Sequence[Bundle]) -> None:
        """Shows the progress of the running bundles.

        An error becomes a warning, because no run may end only because it cannot be shown.
        """
        try:
            rows = [self._update(bundle) for bundle in running]
            if self._table:
                from rich.table import Table

                table = Table("run", "epoch", "accuracy", "time left")
                for row in rows:
                    table.add_row(*row)
                self._table.update(table, refresh=True)
        except BrokenPipeError:  # nobody reads the output: the command ends
            raise
        except Exception as error:
            warnings.warn(f"cannot show the progress: {first_line(error)}", stacklevel=2)

    def say(self, text: str) -> None:
        """Prints a line, above the table if there is one."""
        text = output.printable_lines(text)
        if self._table:
            self._table.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def _update(self, bundle: Bundle) -> tuple[str, ...]:
        """Returns a bundle's row of the table; prints that it started or finished an epoch."""
        name, lines = name_of(bundle), metrics.read(self._folders.workdir(bundle[0]))
        epoch, accuracy, time_left = progress(lines, bundle[0].config.num_epochs)
        if name not in self._epochs_seen:
            self.say(f"{name}: started")
        elif len(lines) > self._epochs_seen[name] and not self._table:
            self.say(f"{name}: epoch {epoch}, accuracy {accuracy}, {time_left}")
        self._epochs_seen[name] = len(lines)
        return name, epoch, accuracy, time_left


def progress(lines: list[metrics.Line], num_epochs: int) -> tuple[str, str, str]:
    """Returns a run's epoch, its latest accuracy and the time left, as text.

    A line may lack any metric, because a run need not be evaluated every epoch.
    """
    accuracies = [
        line[key] for line in lines if (key := f"{selection.split_of(line)}_accuracy") in line
    ]
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    accuracy = time_left = "–"
    if accuracies:
        accuracy = format_metric(accuracies[-1]).strip()
    if seconds:
        minutes = (num_epochs - len(lines)) * statistics.median(seconds) / 60
        time_left = f"about {minutes:.1f} min left"
    return f"{len(lines)}/{num_epochs}", accuracy, time_left
