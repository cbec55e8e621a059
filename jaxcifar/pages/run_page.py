"""Makes a page that shows one run or compares several."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from xml.etree.ElementTree import Element

from jaxcifar.figures.chart import Chart, Series, share_axes
from jaxcifar.figures.curves import learning_curves
from jaxcifar.pages import markup, svg, tables
from jaxcifar.pages.markup import Section, tag
from jaxcifar.pages.predictions import (
    calibration,
    class_accuracy,
    confusion,
    gates,
    pictures_of_errors,
)
from jaxcifar.pages.runs import Run, differing
from jaxcifar.pages.weight_charts import filters, histograms
from jaxcifar.run import selection
from jaxcifar.training import experiment
from jaxcifar.weights.release import count_images

Part = Callable[[Sequence[Run]], list[Element]]


def page(runs: Sequence[Run]) -> str:
    """Returns the page of the runs."""
    names = [run.name for run in runs]
    title = (" vs " if len(runs) == 2 else ", ").join(names)
    parts: list[tuple[str, Part]] = [
        ("Curves", curves),
        ("Confusion", confusion),
        ("Mistakes", pictures_of_errors),
        ("Classes", class_accuracy),
        ("Calibration", calibration),
        ("Summary", summary),
        ("Configuration", configuration),
        ("Filters", filters),
        ("Gates", gates),
        ("Weights", histograms),
        ("Time and versions", provenance),
    ]
    made = [(name, part(runs)) for name, part in parts]
    left_out = [name.lower() for name, content in made if not content]
    lead = tag("div", (headline(run, alone=len(runs) == 1) for run in runs), class_="headlines")
    notes = [f"* {run.name}: {text}" for run in runs for text in run.notes]
    if left_out:
        notes.append(f"Left out, because no run has the data for them: {', '.join(left_out)}.")
    parts_made = [Section(name, content) for name, content in made if content]
    return markup.page(title, [lead], parts_made, notes)


def headline(run: Run, alone: bool) -> Element:
    """Returns a run's test accuracy and its interval in large type, and what they were measured on.

    A star leads to the notes at the foot of the page.
    """
    accuracy, about = "–", "no test accuracy"
    if run.scores is not None and run.net is not None:
        right = run.scores.right
        low, high = run.scores.interval
        accuracy = f"{right.mean():.4f}"
        about = f"test accuracy, 95 % interval {low:.4f} to {high:.4f}, {len(right):,} images"
    else:
        scored = run.scored_lines
        if scored:
            accuracy = f"{scored[-1]['test_accuracy']:.4f}"
            about = f"test accuracy after epoch {scored[-1]['epoch']}, as logged"
    source = run.config["data.source"]
    images = "synthetic images, not CIFAR-10" if source == "synthetic" else f"{source} images"
    data = {key.removeprefix("data."): value for key, value in run.config.items()}
    number = count_images(run.meta, data).get("train")
    trained = "" if number is None else f"{number:,} "
    facts = [f"trained on {trained}{images}", *([run.meta["date"]] if "date" in run.meta else [])]
    star = tag("a", "*", href="#notes", aria_label="notes") if run.notes else None
    name = None if alone else tag("p", tag("strong", run.name))
    small = tag("p", ", ".join(facts), class_="note")
    return tag("div", name, tag("b", accuracy, star), tag("p", about), small, class_="headline")


def summary(runs: Sequence[Run]) -> list[Element]:
    """Returns the table of each run's model, data and accuracies."""
    return [_facts_table("Models and accuracies", runs, [_summary(run) for run in runs])]


def _facts_table(
    caption: str, runs: Sequence[Run], facts: Sequence[dict[str, str]], head: str = ""
) -> Element:
    """Returns a table with a column for each run and a row for each key."""
    keys = dict.fromkeys(key for of_run in facts for key in of_run)
    rows = [(key, *(of_run.get(key, "–") for of_run in facts)) for key in keys]
    return tables.plain(caption, (head, *(run.name for run in runs)), rows)


def _summary(run: Run) -> dict[str, str]:
    facts = {
        "model": str(run.config["model.name"]),
        "data": str(run.config["data.source"]),
        "epochs": f"{run.lines[-1]['epoch'] if run.lines else 0} of {run.config['num_epochs']}",
        "seed": str(run.config["seed"]),
        "parameters": "–",
        "test accuracy of these weights": "–",
        "last epoch": "–",
        "best epoch": "–",
    }
    if run.net is not None:
        facts["parameters"] = experiment.describe_parameters(run.net.variables["params"]).split()[0]
    if run.net is not None and run.scores is not None:
        right = run.scores.right
        low, high = run.scores.interval
        facts["test accuracy of these weights"] = (
            f"{right.mean():.4f} (95 %: {low:.4f} to {high:.4f}), {len(right):,} images,"
            f" step {run.net.step:,}"
        )
    scored = run.scored_lines
    if scored:
        facts["last epoch"] = f"test accuracy {scored[-1]['test_accuracy']:.4f}"
    if len(scored) > 1:
        split = selection.split_of(scored[-1])
        best = selection.best(scored, lambda line: line.get(f"{split}_accuracy"))
        which = f"epoch {best['epoch']}, selected on {split}"
        facts["best epoch"] = f"test accuracy {best['test_accuracy']:.4f} ({which})"
    return facts


def curves(runs: Sequence[Run]) -> list[Element]:
    """Returns charts of the loss, the accuracy and the learning rate against the epoch."""
    if not any(run.lines for run in runs):
        return []
    drawn = learning_curves({run.name: [run.lines] for run in runs})
    if any("learning_rate" in line for run in runs for line in run.lines):
        rates = [
            Series(
                run.name,
                [line["epoch"] for line in run.lines],
                [line.get("learning_rate") for line in run.lines],
                i,
            )
            for i, run in enumerate(runs)
            if run.lines
        ]
        title = "Learning rate, log scale"
        drawn.append(Chart(title, rates, "epoch", "learning rate", log=True, integers=True))
    drawn = [chart for chart in drawn if chart.has_line]
    once = [run.name for run in runs if sum("test_accuracy" in line for line in run.lines) == 1]
    parts = [tag("div", map(svg.draw, share_axes(drawn)), class_="charts")] if drawn else []
    if once:
        parts.append(tag("p", f"Only the last epoch was scored: {', '.join(once)}."))
    note = (
        "Dashed lines are training, solid lines test, dotted lines validation. Point, touch or"
        " press ← or → to read values. Drag or press + or − to zoom, press Shift with ← or → to"
        " move, and 0 to show everything. Click a name in a legend to hide its line."
    )
    return [*parts, tag("p", note, class_="note")] if drawn else parts


def configuration(runs: Sequence[Run]) -> list[Element]:
    """Returns the values that differ between the configs, and a folded table of all values."""
    every = sorted(set().union(*(run.config for run in runs)) - {"data.dir"})

    def table(caption: str, keys: Iterable[str]) -> Element:
        texts = [{key: repr(value) for key, value in run.config.items()} for run in runs]
        facts = [{key: of_run.get(key, "–") for key in keys} for of_run in texts]
        return _facts_table(caption, runs, facts, "key")

    parts = []
    if len(runs) > 1:
        differ = differing(runs)
        same = tag("p", "The configs are identical.")
        parts.append(table("Values that differ", differ) if differ else same)
    summary = tag("summary", f"All {len(every)} values")
    return [*parts, tag("details", summary, table("All values", every))]


def provenance(runs: Sequence[Run]) -> list[Element]:
    """Returns the time that the runs took, and the machine, versions and data behind them."""
    facts = []
    for run in runs:
        seconds = [line["seconds"] for line in run.lines if "seconds" in line]
        rates = [line["examples_per_second"] for line in run.lines if "examples_per_second" in line]
        rate = f"{statistics.median(rates):,.0f}" if rates else "–"
        facts.append(
            {
                "seconds, all epochs": f"{sum(seconds):,.1f}" if seconds else "–",
                "seconds, median epoch": f"{statistics.median(seconds):,.1f}" if seconds else "–",
                "training examples per second, median epoch": rate,
                **{key: run.meta.get(key, "–") for key in ("device", "date", "commit")},
                "data checksum": run.meta.get("data", {}).get("checksum", "–"),
                **run.meta.get("versions", {}),
            }
        )
    return [_facts_table("Time, device and versions", runs, facts)]
