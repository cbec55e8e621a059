"""Several runs side by side, seen from outside by their metrics: a live table, or plain lines."""

import pathlib
import statistics
import sys
from typing import Any

from jaxcifar.run import metrics, selection


class Overview:
    """Shows the runs that `begin` names until they `end`; use with `with`."""

    def __init__(self) -> None:
        from rich.live import Live

        self._runs: dict[str, tuple[pathlib.Path, int]] = {}
        self._seen: dict[str, int] = {}
        self.live = sys.stdout.isatty()
        self._table = Live(auto_refresh=False, transient=True) if self.live else None

    def __enter__(self) -> "Overview":
        if self._table:
            self._table.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._table:
            self._table.stop()

    def begin(self, name: str, workdir: pathlib.Path, num_epochs: int) -> None:
        """Takes up a run."""
        self._runs[name] = (workdir, num_epochs)
        self._seen[name] = len(metrics.read(workdir))
        self._say(f"{name}: started")

    def end(self, name: str, told: str) -> None:
        """Leaves a run that ended, with its last word."""
        del self._runs[name]
        self._say(f"{name}: {told}")

    def look(self) -> None:
        """Reads the metrics of the runs and shows what is new."""
        rows = []
        for name, (workdir, num_epochs) in self._runs.items():
            lines = metrics.read(workdir)
            rows.append((name, *progress(lines, num_epochs)))
            if len(lines) > self._seen[name] and not self.live:
                self._say(f"{name}: epoch {rows[-1][1]}, accuracy {rows[-1][2]}, {rows[-1][3]}")
            self._seen[name] = len(lines)
        if self._table:
            from rich.table import Table

            table = Table("run", "epoch", "accuracy", "time left")
            for row in rows:
                table.add_row(*row)
            self._table.update(table, refresh=True)

    def _say(self, text: str) -> None:
        if self._table:
            self._table.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)


def progress(lines: list[metrics.Line], num_epochs: int) -> tuple[str, str, str]:
    """Returns how far a run is, its accuracy, and the time that is left, in words."""
    if not lines:
        return f"0/{num_epochs}", "–", "–"
    accuracy = lines[-1][f"{selection.split(lines[-1])}_accuracy"]
    seconds = statistics.median(line["seconds"] for line in lines)
    left = (num_epochs - len(lines)) * seconds / 60
    return (
        f"{len(lines)}/{num_epochs}",
        "nan" if accuracy is None else f"{accuracy:.4f}",
        f"about {left:.1f} min left",
    )
