"""The page of the study: every claim of the reports, what it stands on, the figures re-drawn."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.claims import figures, records
from jaxcifar.claims import tables as words
from jaxcifar.claims.claim import Claim, column
from jaxcifar.claims.judge import (
    EXCEEDED,
    FAILS,
    HOLDS,
    UNDECIDED,
    UNMEASURED,
    Judgement,
    judge_all,
)
from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.pages import charts, markup, tables
from jaxcifar.pages.charts import Axes, Series
from jaxcifar.pages.markup import Section, tag
from jaxcifar.pages.predictions import gate_table
from jaxcifar.pages.tables import Row, Span
from jaxcifar.stats.intervals import mean_std

VERDICTS = {
    HOLDS: "holds",
    EXCEEDED: "exceeded",
    UNDECIDED: "undecided",
    FAILS: "fails",
    UNMEASURED: "unmeasured",
}  # to the class that page.css colours
Judged = Mapping[Claim, Judgement]


def page(study: pathlib.Path, out: pathlib.Path) -> str:
    """Returns the page, to be written to `out`, of the records in the folder `study`.

    Raises:
      UserError: a file there is not a record.
    """
    found = records.read(study, RUNS)
    judged = judge_all(CLAIMS, found)
    base = pathlib.Path(os.path.relpath(study.resolve(), out.resolve().parent))
    count = sum(len(seeds) for seeds in found.values())
    lead = [
        tag(
            "p",
            f"Every claim of the five reports, judged from {count} runs. {words.verdicts(judged)}.",
        ),
        tag("p", "How a claim is judged, and all numbers: ", _link(base / "README.md"), "."),
    ]
    parts = [Section("Verdicts", overview(judged))]
    for report in dict.fromkeys(claim.report for claim in judged):
        own = [_claim(c, j, found, study, base) for c, j in judged.items() if c.report == report]
        parts.append(Section(f"Report {report}", own))
    parts += [
        Section("Figures", curves(found, study, base)),
        Section("Weights", weights(found)),
        Section("Gates", gates(found)),
        Section("Runs", runs(found, base)),
    ]
    title = "What five reports claim, re-run"
    return markup.page(title, lead, [part for part in parts if part.content])


def _link(path: pathlib.Path, text: str = "") -> Element:
    return tag("a", text or path.name, href=path.as_posix())


def overview(judged: Judged) -> list[Element]:
    """Returns the forest plot: each claim's distance from what was reported, or from its bound.

    Of a statement of several comparisons it has the closest to its bound, as results/README.md.
    """
    units: dict[str, list[Claim]] = {}
    for claim, judgement in judged.items():
        if judgement.n:
            units.setdefault(claim.comparisons[0].metric.unit, []).append(claim)
    parts: list[Element] = [
        tag("p", (tag("span", v, class_=f"verdict {look}") for v, look in VERDICTS.items())),
        tag(
            "p",
            "Right of the line is better than reported, or on the good side of the bound. A bar is"
            " 95 %: of one more run for a figure, of the mean for a statement.",
        ),
    ]
    for unit, claims in units.items():
        rows = [_forest_row(claim, judged[claim]) for claim in claims]
        ends = [end for row in rows for span in row.spans for end in (span.low, span.high)]
        low, high = min(0.0, *ends), max(0.0, *ends)
        margin = 0.03 * (high - low) or 1.0
        caption = f"In {unit}: distance from the reported, or from the bound"
        parts.append(tables.intervals(caption, rows, (low - margin, high + margin), 0.0))
    missing = [_claim_link(claim) for claim, judgement in judged.items() if not judgement.n]
    if missing:
        parts.append(tag("p", "Not yet measured: ", missing, class_="links"))
    return parts


def _claim_link(claim: Claim) -> Element:
    return tag("a", claim.id, href=f"#claim-{claim.id}")


def _forest_row(claim: Claim, judgement: Judgement) -> Row:
    test = min(judgement.tests, key=lambda test: test.closeness)
    mean = test.margin
    ends = [test.comparison.margin(end) for end in test.interval or mean_std(test.values)[:1]]
    span = Span(mean, min(ends), max(ends), VERDICTS[judgement.verdict])
    kind = "reported" if claim.reported is not None else "bound"
    n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{judgement.n}"
    text = f"{words.number(test, bold='')}, {kind} {test.comparison.bound:g}, {n}"
    return Row(_claim_link(claim), [span], text)


def _claim(
    claim: Claim, judgement: Judgement, found: Records, study: pathlib.Path, base: pathlib.Path
) -> Element:
    """A claim: its words, its verdict, what was measured, and the runs with their numbers."""
    verdict = tag("span", words.verdict(judgement), class_=f"verdict {VERDICTS[judgement.verdict]}")
    parts = [tag("h3", claim.id, " ", verdict), tag("p", f"“{claim.text}”")]
    if claim.note:
        parts.append(tag("p", claim.note, class_="note"))
    if not judgement.n:
        parts.append(tag("p", f"Needs runs of {', '.join(claim.runs)}.", class_="note"))
        return tag("article", parts, id=f"claim-{claim.id}")
    parts.append(tag("p", words.measured(claim, judgement, found).replace("**", "")))
    seeds = sorted(set.union(*(set(found[run]) for run in claim.runs)))
    rows = []
    for run in claim.runs:
        cells = []
        for seed in seeds:
            file = records.path_of(study, run, seed)
            value = _value(claim, run, found[run][seed]) if seed in found[run] else None
            link = base / file.relative_to(study)
            cells.append("–" if value is None else _link(link, value))
        rows.append((run, *cells))
    metric = claim.comparisons[0].metric.name
    table = tables.plain(f"{metric}, by seed", ("run", *map(str, seeds)), rows)
    parts.append(tag("details", tag("summary", "The runs, by seed"), table))
    return tag("article", parts, id=f"claim-{claim.id}")


def _value(claim: Claim, run: str, record: Record) -> str:
    value = claim.comparisons[0].metric.of(record)
    return words.decimals(value, value)


def curves(found: Records, study: pathlib.Path, base: pathlib.Path) -> list[Element]:
    """Returns the reports' curves, the mean of the seeds in a band of one standard deviation."""
    made = []
    for name, (title, labels) in figures.CURVES.items():
        if not all(found[run] for run in labels.values()):
            continue
        for what in ("accuracy", "loss"):
            axes = Axes("epoch", what, whole=True)
            series = [
                mean_of_seeds(label, list(found[run].values()), split, what, i)
                for i, (label, run) in enumerate(labels.items())
                for split in ("train", "test")
            ]
            picture = study / "figures" / f"{name}.png"
            link = _link(base / "figures" / picture.name, "as a picture")
            note = tag("span", link) if picture.exists() else ""
            made.append(charts.chart(f"{title}, {what}", series, axes, note))
    if not made:
        return []
    help_ = (
        "Dashed: training; solid: test; the mean of the seeds, and one standard deviation about it."
    )
    return [tag("p", help_, class_="note"), tag("div", made, class_="charts")]


def mean_of_seeds(
    label: str, seeds: Sequence[Record], split: str, what: str, colour: int
) -> Series:
    """Returns a metric's mean over the seeds, with one sample standard deviation about it."""
    values = [column(record, f"{split}_{what}") for record in seeds]
    longest = max(seeds, key=lambda record: len(record["epochs"]))["epochs"]
    x = [line["epoch"] for line in longest if f"{split}_{what}" in line]
    by_epoch = [[run[i] for run in values if i < len(run)] for i in range(len(x))]
    stats = [mean_std(of_epoch) for of_epoch in by_epoch]
    low: list[float] = []
    high: list[float] = []
    if len(seeds) > 1:
        low, high = [m - s for m, s in stats], [m + s for m, s in stats]
    return Series(f"{label} {split}", x, [m for m, _ in stats], colour, split, low, high)


def weights(found: Records) -> list[Element]:
    """Returns figure 11: the distributions of all weights with L1 and with L2."""
    series = []
    for i, (label, run) in enumerate(figures.HISTOGRAM.items()):
        held = [record["weights"] for record in found[run].values()]
        if not held:
            return []
        low, high = held[0]["range"]
        edges = np.linspace(low, high, len(held[0]["counts"]) + 1).tolist()
        shares = np.mean([np.array(w["counts"]) / w["total"] for w in held], 0).tolist()
        series.append(charts.histogram(label, edges, shares, i))
    axes = Axes("weight", "share of all per bin", log=True)
    title = "Figure 11: weights with L1 and with L2, mean of the seeds"
    return [tag("div", charts.chart(title, series, axes), class_="charts")]


def gates(found: Records) -> list[Element]:
    """Returns the mean gates by class of the runs that have some, of their first seed."""
    parts = []
    for run in RUNS:
        seeds = found[run]
        record = seeds[min(seeds)] if seeds else {"gates": {}}
        for block, means in record["gates"].items():
            table = gate_table(block, np.array(means), record["class_names"])
            parts.append(tag("div", tag("h3", f"{run}, seed {min(seeds)}"), table))
    return [tag("div", parts, class_="side")] if parts else []


def runs(found: Records, base: pathlib.Path) -> list[Element]:
    """Returns the table of the runs, with what made them."""
    rows: list[tuple] = []
    for run in RUNS:
        seeds = list(found[run].values())
        if seeds:
            last = [column(record, "test_accuracy")[-1] for record in seeds]
            minutes = mean_std([record["seconds"] / 60 for record in seeds])[0]
            versions = sorted({f"jax {record['versions']['jax']}" for record in seeds})
            devices = sorted({record["device"] for record in seeds})
            made = ", ".join([*devices, *versions])
            rows.append((run, str(len(seeds)), words.spread(last), f"{minutes:.1f}", made))
    head = ("run", "n", "test accuracy, last epoch", "minutes", "made on")
    missing = words.not_yet(run for run in RUNS if not found[run]).strip()
    return [tables.plain("Runs, mean ± standard deviation", head, rows), tag("p", missing)]
