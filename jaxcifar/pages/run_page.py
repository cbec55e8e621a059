"""The page of one run, or of several compared: from what was found of them to its sections."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from xml.etree.ElementTree import Element

from jaxcifar.pages import charts, markup, tables
from jaxcifar.pages.charts import Axes, Series
from jaxcifar.pages.findings import Run, differing
from jaxcifar.pages.markup import Section, tag
from jaxcifar.pages.predictions import (
    calibration,
    class_accuracy,
    confusion,
    gates,
    pictures_of_errors,
)
from jaxcifar.pages.weight_charts import filters, histograms
from jaxcifar.run import selection
from jaxcifar.stats.accuracy import wilson
from jaxcifar.training import experiment

SPLITS = ("train", "test", "validation")
Part = Callable[[Sequence[Run]], list[Element]]


def page(runs: Sequence[Run]) -> str:
    """Returns the page of these runs."""
    names = [run.name for run in runs]
    title = (" against " if len(runs) == 2 else ", ").join(names)
    parts: list[tuple[str, Part]] = [
        ("Summary", summary),
        ("Curves", curves),
        ("Configuration", configuration),
        ("Classes", class_accuracy),
        ("Confusion", confusion),
        ("Calibration", calibration),
        ("Mistakes", pictures_of_errors),
        ("Filters", filters),
        ("Gates", gates),
        ("Weights", histograms),
        ("Seconds and versions", provenance),
    ]
    made = [(name, part(runs)) for name, part in parts]
    left_out = [name.lower() for name, content in made if not content]
    lead = [
        tag("p", f"{run.name}: {text}", class_="missing") for run in runs for text in run.missing
    ]
    if any(run.synthetic for run in runs):
        drawn = ", ".join(run.name for run in runs if run.synthetic)
        lead.append(tag("p", f"On synthetic data, not CIFAR-10: {drawn}.", class_="missing"))
    if left_out:
        text = f"Left out, because no run here has what it takes: {', '.join(left_out)}."
        lead.append(tag("p", text, class_="missing"))
    return markup.page(title, lead, [Section(name, content) for name, content in made if content])


def summary(runs: Sequence[Run]) -> list[Element]:
    """Returns the table of what the runs are and how well they do."""
    facts = [_facts(run) for run in runs]
    rows = [(key, *(fact.get(key, "–") for fact in facts)) for key in facts[0]]
    return [tables.plain("What was trained, and how well", ("", *(r.name for r in runs)), rows)]


def _facts(run: Run) -> dict[str, str]:
    facts = {
        "model": str(run.config["model.name"]),
        "data": f"{run.config['data.source']}",
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
        low, high = wilson(int(right.sum()), len(right))
        facts["test accuracy of these weights"] = (
            f"{right.mean():.4f} (95 %: {low:.4f} to {high:.4f}, {len(right):,} images,"
            f" step {run.net.step:,})"
        )
    scored = [line for line in run.lines if line.get("test_accuracy") is not None]
    if scored:
        split = selection.split(scored[-1])
        best = selection.best(scored, lambda line: line.get(f"{split}_accuracy"))
        facts["last epoch"] = f"test accuracy {scored[-1]['test_accuracy']:.4f}"
        which = f"epoch {best['epoch']}, selected on {split}"
        if len(scored) > 1:
            facts["best epoch"] = f"test accuracy {best['test_accuracy']:.4f} ({which})"
    return facts


def curves(runs: Sequence[Run]) -> list[Element]:
    """Returns the curves of loss and accuracy over the epochs, and of the rate over the steps."""
    if not any(run.lines for run in runs):
        return []
    made = []
    for what in ("accuracy", "loss"):
        series = [s for i, run in enumerate(runs) for s in _series(run, what, i, len(runs) > 1)]
        made.append(charts.chart(what.capitalize(), series, Axes("epoch", what, whole=True)))
    rates = [
        Series(
            run.name,
            [line["step"] for line in run.lines],
            [line.get("learning_rate") for line in run.lines],
            i,
        )
        for i, run in enumerate(runs)
        if run.lines
    ]
    if any("learning_rate" in line for run in runs for line in run.lines):
        title = "Learning rate at the end of each epoch"
        made.append(charts.chart(title, rates, Axes("step", "rate", whole=True)))
    help_ = (
        "Dashed: training; solid: test; dotted: validation. A pointer, a finger or ← → read the"
        " values. Dragging across zooms in, as do + and −; shift with ← → moves, 0 shows all. A"
        " name in a legend hides its line."
    )
    return [tag("div", made, class_="charts"), tag("p", help_, class_="note")]


def _series(run: Run, what: str, number: int, named: bool) -> Iterable[Series]:
    for split in SPLITS:
        lines = [line for line in run.lines if f"{split}_{what}" in line]
        if lines:
            x, y = [line["epoch"] for line in lines], [line[f"{split}_{what}"] for line in lines]
            yield Series(f"{run.name} {split}" if named else split, x, y, number, split)


def configuration(runs: Sequence[Run]) -> list[Element]:
    """Returns what differs between the configs, and the whole of them folded."""
    head = ("key", *(run.name for run in runs))
    keys = sorted(set().union(*(run.config for run in runs)) - {"data.dir"})

    def table(caption: str, keys: Iterable[str]) -> Element:
        rows = [(key, *(_value(run.config, key) for run in runs)) for key in keys]
        return tables.plain(caption, head, rows)

    parts = []
    if len(runs) > 1:
        differ = differing(runs)
        same = tag("p", "The configs are the same.")
        parts.append(table("What differs", differ) if differ else same)
    summary = tag("summary", f"All {len(keys)} values")
    return [*parts, tag("details", summary, table("The whole config", keys))]


def _value(config: dict, key: str) -> str:
    return repr(config[key]) if key in config else "–"


def provenance(runs: Sequence[Run]) -> list[Element]:
    """Returns how long the runs took, and what they depend on besides their configs."""
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
    keys = dict.fromkeys(key for fact in facts for key in fact)
    rows = [(key, *(fact.get(key, "–") for fact in facts)) for key in keys]
    return [tables.plain("Time, machine, versions", ("", *(run.name for run in runs)), rows)]
