"""Describes the figures of the reports from records and judgements, and draws them as PNG."""

import math
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxcifar.claims import tables
from jaxcifar.claims.claim import Claim
from jaxcifar.claims.judge import EXCEEDED, FAILS, HOLDS, UNDECIDED, Judgement
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import L2_SWEEP, LR_SWEEP, RUNS
from jaxcifar.figures import png
from jaxcifar.figures.chart import Chart, Estimate, Forest, Heatmap, Row
from jaxcifar.figures.curves import learning_curves
from jaxcifar.figures.heatmaps import mean_gates
from jaxcifar.figures.weights import weight_chart

# File name -> title and runs (by their label); the figures of report 003, then those of 002.
CURVES: dict[str, tuple[str, Mapping[str, str]]] = {
    "003_fig1_base": ("Figure 1: SimpleCNN", {"base": "simple_cnn:base"}),
    "003_fig2_decay": (
        "Figure 2: with learning rate decay",
        {"base": "simple_cnn:base", "decay": "simple_cnn:decay"},
    ),
    "003_fig3_augment": (
        "Figure 3: with augmentation",
        {"base": "simple_cnn:base", "augment": "simple_cnn:augment"},
    ),
    "003_fig4_batchnorm": (
        "Figure 4: with batch normalisation",
        {"augment": "simple_cnn:augment", "batchnorm": "simple_cnn:batchnorm"},
    ),
    "003_fig5_high_rate": (
        "Figure 5: rate 0.1 with and without batch normalisation",
        {"with BN": "simple_cnn:bn_lr0.1", "without": "simple_cnn:nobn_lr0.1"},
    ),
    "003_fig6_swish": (
        "Figure 6: Swish",
        {"ReLU": "simple_cnn:bn_lr0.1", "Swish": "simple_cnn:swish"},
    ),
    "003_fig7_rates": (
        "Figure 7: learning rates",
        {f"{rate:g}": run for rate, run in LR_SWEEP.items()},
    ),
    "003_fig8_l2": ("Figure 8: L2", {f"{l2:g}": run for l2, run in L2_SWEEP.items()}),
    "003_fig9_10_l1_l2": (
        "Figures 9 and 10: L1 against L2",
        {"L1 1e-4": "simple_cnn:l1", "L2 1e-4": "simple_cnn:batchnorm"},
    ),
    "003_fig12_resnet20": ("Figure 12: ResNet-20", {"resnet20": "resnet20"}),
    "002_a_lr0.005": ("Report 002 (a): rate 0.005", {"0.005": "pooled_cnn:lr0.005"}),
    "002_b_lr0.01": ("Report 002 (b): rate 0.01", {"0.01": "pooled_cnn:lr0.01"}),
    "002_c_lr0.0001": ("Report 002 (c): rate 0.0001", {"0.0001": "pooled_cnn:lr0.0001"}),
}
HISTOGRAM = {"L1 1e-4": "simple_cnn:l1", "L2 1e-4": "simple_cnn:batchnorm"}


OVERVIEW, WEIGHTS = "claims.png", "003_fig11_weights.png"
WEIGHTS_TITLE = "Figure 11: weights with L1 and with L2"
GATES_TITLE = "mean gate per class\ncolour: difference from the branch's mean"
FOREST_TITLE = (
    "Right of the line is better than reported, or on the good side of the bound. Bars are 95 %"
    " intervals: for one more run (figure), of the mean (statement)."
)
COLOURS = {HOLDS: "tab:green", EXCEEDED: "tab:blue", UNDECIDED: "tab:orange", FAILS: "tab:red"}
MARKERS = {"figure": "o", "statement": "D"}


def draw(out: pathlib.Path, records: Records, judged: Mapping[Claim, Judgement]) -> list[str]:
    """Draws the overview, and every figure whose runs have records, into out/figures.

    Returns the file names without the overview's.
    """
    directory = out / "figures"
    directory.mkdir(parents=True, exist_ok=True)
    png.draw_forests(directory / OVERVIEW, forests(judged), FOREST_TITLE, COLOURS, MARKERS)
    names = []
    for file, (title, charts) in curve_charts(records).items():
        png.draw_charts(directory / file, charts, title)
        names.append(file)
    if chart := weights(records):
        png.draw_charts(directory / WEIGHTS, [chart], chart.title)
        names.append(WEIGHTS)
    for run, maps in gates(records).items():
        file = f"gates_{run.partition(',')[0].replace(':', '_')}.png"
        png.draw_heatmaps(directory / file, maps, f"{run}\n{GATES_TITLE}")
        names.append(file)
    return names


def curve_charts(records: Records) -> dict[str, tuple[str, list[Chart]]]:
    """Returns file name, title and charts of the learning curves whose runs have records."""
    found = {}
    for name, (title, labels) in CURVES.items():
        if all(records[run] for run in labels.values()):
            runs = {
                label: [record["epochs"] for record in records[run].values()]
                for label, run in labels.items()
            }
            found[f"{name}.png"] = title, learning_curves(runs)
    return found


def weights(records: Records) -> Chart | None:
    """Returns the chart of figure 11, or None without records."""
    if not all(records[run] for run in HISTOGRAM.values()):
        return None
    runs = {
        label: [record["weights"] for record in records[run].values()]
        for label, run in HISTOGRAM.items()
    }
    return weight_chart(WEIGHTS_TITLE, runs)


def gates(records: Records) -> dict[str, list[Heatmap]]:
    """Returns the mean gates of each block, by "run, seed N", for the first seed of each run."""
    found = {}
    for run in RUNS:
        if records[run]:
            seed = min(records[run])
            record = records[run][seed]
            maps = [
                mean_gates(block, np.array(means), record["class_names"])
                for block, means in record["gates"].items()
            ]
            if maps:
                found[f"{run}, seed {seed}"] = maps
    return found


def forests(judged: Mapping[Claim, Judgement]) -> list[Forest]:
    """Returns a forest plot for each unit: the distance of each claim from its bound.

    A statement of several comparisons shows the one that is closest to its bound, counted in
    widths of its interval.
    """
    units: dict[str, list[Row]] = {}
    for claim, judgement in judged.items():
        rows = units.setdefault(claim.comparisons[0].metric.unit, [])
        estimates = [_estimate(claim, judgement)] if judgement.n else []
        diamond = claim.reported is None
        rows.append(Row(claim.id, estimates, diamond, judgement.verdict))
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
    n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{judgement.n}"  # on one line of a page
    text = f"{tables.number(test, bold='')}, {goal}, {n}"
    if len(claim.runs) > 2:
        text += f", against {tables.short(test.comparison.other)}"
    return Estimate(test.margin, low, high, judgement.verdict, text)
