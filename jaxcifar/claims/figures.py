"""Makes the charts of the claims from records and verdicts, and draws them as PNG files."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcifar.claims import tables
from jaxcifar.claims.claim import Claim
from jaxcifar.claims.judge import EXCEEDED, FAILS, HOLDS, UNDECIDED, Judgement
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import CURVES, L1_L2, RUNS
from jaxcifar.figures import png
from jaxcifar.figures.chart import Chart, Estimate, Forest, Heatmap, Row
from jaxcifar.figures.curves import learning_curves
from jaxcifar.figures.heatmaps import mean_gates
from jaxcifar.figures.weights import weight_chart

OVERVIEW, WEIGHTS = "claims.png", "003_fig11_weights.png"
WEIGHTS_TITLE = "Figure 11: weights with L1 and with L2"
GATES_TITLE = "mean gate per class\ncolour: difference from the branch's mean"
FOREST_TITLE = (
    "A mark to the right of the line is better than reported, or on the good side of the bound."
    " A bar is the 95 % interval for one more run (figure) or of the mean (statement)."
)
COLOURS = {HOLDS: "tab:green", EXCEEDED: "tab:blue", UNDECIDED: "tab:orange", FAILS: "tab:red"}
MARKERS = {"figure": "o", "statement": "D"}


def draw(out: pathlib.Path, records: Records, judged: Mapping[Claim, Judgement]) -> list[str]:
    """Draws the overview, and every other chart whose runs have records, into out/figures.

    Returns the file names of all charts but the overview.
    """
    directory = out / "figures"
    directory.mkdir(parents=True, exist_ok=True)
    if plots := forests(judged):
        png.draw_forests(directory / OVERVIEW, plots, FOREST_TITLE, COLOURS, MARKERS)
    names = []
    for file, (title, charts) in curve_charts(records).items():
        png.draw_charts(directory / file, charts, title)
        names.append(file)
    if chart := l1_l2_chart(records):
        png.draw_charts(directory / WEIGHTS, [chart], chart.title)
        names.append(WEIGHTS)
    for run, maps in gate_heatmaps(records).items():
        file = f"gates_{run.partition(',')[0].replace(':', '_')}.png"
        png.draw_heatmaps(directory / file, maps, f"{run}\n{GATES_TITLE}")
        names.append(file)
    return names


def curve_charts(records: Records) -> dict[str, tuple[str, list[Chart]]]:
    """Returns the title and charts of each figure of learning curves, by file name.

    Figures without records of all their runs are left out.
    """
    found = {}
    for name, (title, labels) in CURVES.items():
        if runs := _by_label(records, labels, "epochs"):
            found[f"{name}.png"] = title, learning_curves(runs)
    return found


def l1_l2_chart(records: Records) -> Chart | None:
    """Returns the chart of figure 11, or None if one of its runs has no records."""
    runs = _by_label(records, L1_L2, "weights")
    return weight_chart(WEIGHTS_TITLE, runs) if runs else None


def _by_label(records: Records, labels: Mapping[str, str], key: str) -> dict[str, list[Any]]:
    """Returns `key` of every seed's record, by label, or {} if one of the runs has no records."""
    if not all(records[run] for run in labels.values()):
        return {}
    return {label: [seed[key] for seed in records[run].values()] for label, run in labels.items()}


def gate_heatmaps(records: Records) -> dict[str, list[Heatmap]]:
    """Returns heatmaps of the mean gates of each block, for the first seed of each run.

    The keys are "RUN, seed N".
    """
    found = {}
    for run in RUNS:
        if records[run]:
            seed = min(records[run])
            record = records[run][seed]
            maps = [
                mean_gates(block, np.array(means, float), record["class_names"])
                for block, means in record["gates"].items()
            ]
            if maps:
                found[f"{run}, seed {seed}"] = maps
    return found


def forests(judged: Mapping[Claim, Judgement]) -> list[Forest]:
    """Returns one forest plot per unit, with the distance of each measured claim from its bound.

    A statement with several comparisons is shown by the one closest to its bound, measured in
    widths of its interval.
    """
    units: dict[str, list[Row]] = {}
    for claim, judgement in judged.items():
        if judgement.n:
            rows = units.setdefault(claim.comparisons[0].metric.unit, [])
            diamond = claim.reported is None
            rows.append(Row(claim.id, [_estimate(claim, judgement)], diamond, claim.text))
    found = []
    for unit, rows in units.items():
        ends = [end for row in rows for e in row.estimates for end in (e.low, e.high)]
        ends = [end for end in ends if math.isfinite(end)]
        low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
        margin = 0.03 * (high - low) or 1.0
        title = f"{unit}: distance from the reported number, or from the bound"
        found.append(Forest(title, rows, (low - margin, high + margin), zero=0.0))
    return found


def _estimate(claim: Claim, judgement: Judgement) -> Estimate:
    test = judgement.closest
    margin = test.comparison.margin
    low, high = sorted(margin(end) for end in test.interval or (test.mean, test.mean))
    goal = f"{'bound' if claim.reported is None else 'reported'} {test.comparison.bound:g}"
    n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{judgement.n}"  # no line break inside it
    text = f"{tables.format_interval(test, bold='')}, {goal}, {n}"
    if len(claim.runs) > 2:
        text += f", against {tables.short(test.comparison.other)}"
    return Estimate(test.margin, low, high, judgement.verdict, text)
