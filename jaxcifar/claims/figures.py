"""The reports' pictures, drawn from the records: curves, weights, and what the gates respond to."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcifar.claims import tables
from jaxcifar.claims.claim import Claim
from jaxcifar.claims.judge import EXCEEDED, FAILS, HOLDS, UNDECIDED, Judgement
from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.reports import L2_SWEEP, LR_SWEEP, RUNS
from jaxcifar.figures import plots

# file name -> title and the runs drawn together; figures of report 003, then of 002
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


OVERVIEW = "claims.png"
COLOURS = {HOLDS: "tab:green", EXCEEDED: "tab:blue", UNDECIDED: "tab:orange", FAILS: "tab:red"}


def draw(out: pathlib.Path, records: Records, judged: Mapping[Claim, Judgement]) -> list[str]:
    """Draws the overview, and every picture whose runs are there, into out/figures.

    Returns the file names but the overview's.
    """
    directory = out / "figures"
    directory.mkdir(parents=True, exist_ok=True)
    draw_claims(directory / OVERVIEW, judged)
    names = []
    for name, (title, labels) in CURVES.items():
        if all(records[run] for run in labels.values()):
            runs = {
                label: [record["epochs"] for record in records[run].values()]
                for label, run in labels.items()
            }
            plots.curves(directory / f"{name}.png", runs, title)
            names.append(f"{name}.png")
    if all(records[run] for run in HISTOGRAM.values()):
        weights = {label: list(records[run].values()) for label, run in HISTOGRAM.items()}
        draw_weights(directory / "003_fig11_weights.png", weights)
        names.append("003_fig11_weights.png")
    for run in RUNS:
        seeds = records[run]
        if seeds and seeds[min(seeds)]["gates"]:
            name = f"gates_{run.replace(':', '_')}.png"
            draw_gates(directory / name, seeds[min(seeds)])
            names.append(name)
    return names


def draw_claims(path: pathlib.Path, judged: Mapping[Claim, Judgement]) -> None:
    """Draws each claim's number, with its interval, about what was reported: a forest plot.

    A panel for each unit, with the good side on the right; of a statement of several comparisons,
    the one that is closest to its bound, counted in widths of its interval.
    """
    panels: dict[str, list[Claim]] = {}
    for claim in judged:
        panels.setdefault(claim.comparisons[0].metric.unit, []).append(claim)
    heights = [len(claims) + 2 for claims in panels.values()]
    size = (11, 1.2 + 0.24 * sum(heights))
    from matplotlib.lines import Line2D

    fig, axes = plots.figure(len(panels), 1, size, gridspec_kw={"height_ratios": heights})
    for (unit, claims), axis in zip(panels.items(), axes[:, 0], strict=True):
        for row, claim in enumerate(claims):
            _draw_claim(axis, row, claim, judged[claim])
        axis.axvline(0, color="black", lw=0.8)
        axis.set_yticks(range(len(claims)), [claim.id for claim in claims], fontsize=8)
        axis.set_ylim(len(claims) - 0.4, -0.6)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(
            f"{unit}: distance from the reported, or from the bound", fontsize=9, loc="left"
        )
        if not any(judged[claim].n for claim in claims):
            axis.set_xticks([])
    fig.suptitle(
        "Every claim: right of the line is better than reported, or on the good side of the bound\n"
        "bar: 95 %, of one more run for a figure (●), of the mean for a statement (◆)",
        fontsize=9,
    )
    handles = [Line2D([], [], color=c, marker="o", label=name) for name, c in COLOURS.items()]
    fig.legend(handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8)
    plots.save(fig, path)


def _draw_claim(axis: Any, row: int, claim: Claim, judgement: Judgement) -> None:
    right = {"x": 1.01, "y": row, "transform": axis.get_yaxis_transform(), "va": "center"}
    if not judgement.n:
        axis.text(s=judgement.verdict, color="grey", fontsize=7, **right)
        return
    test = min(judgement.tests, key=lambda test: test.closeness)
    colour, marker = COLOURS[judgement.verdict], "o" if claim.reported is not None else "D"
    axis.plot(test.margin, row, marker, color=colour, markersize=5)
    if test.interval:
        axis.plot([test.comparison.margin(end) for end in test.interval], [row, row], color=colour)
    goal = f"{'reported' if claim.reported is not None else 'bound'} {test.comparison.bound:g}"
    text = f"{tables.number(test, bold='')}  {goal}  n = {judgement.n}"
    if len(claim.runs) > 2:
        text += f"  against {tables.short(test.comparison.other)}"
    axis.text(s=text, fontsize=7, **right)


def draw_weights(path: pathlib.Path, runs: Mapping[str, Sequence[Record]]) -> None:
    """Draws the distributions of all weights of the runs, on a logarithmic scale.

    The mean over a run's seeds, and a band from the least to the most.
    """
    fig, axes = plots.figure(1, 1, (7, 4))
    axis = axes[0][0]
    for number, (label, records) in enumerate(runs.items()):
        weights = [record["weights"] for record in records]
        low, high = weights[0]["range"]
        edges = np.linspace(low, high, len(weights[0]["counts"]) + 1)
        shares = np.array([np.array(w["counts"]) / w["total"] for w in weights])
        close = np.mean([w["share_below"]["0.001"] for w in weights])
        text = f"{label}: {close:.1%} of the weights within ±0.001"
        axis.stairs(shares.mean(0), edges, color=f"C{number}", label=text)
        band = {"baseline": shares.min(0), "fill": True, "alpha": 0.3}
        axis.stairs(shares.max(0), edges, color=f"C{number}", **band)
    axis.set(yscale="log", xlabel="weight", ylabel="share of weights per bin")
    axis.legend()
    fig.suptitle("Figure 11: weights with L1 and with L2")
    plots.save(fig, path)


def draw_gates(path: pathlib.Path, record: Record) -> None:
    """Draws, for each block, the mean gate of each branch for the test images of each class.

    Each branch is shown as its difference from its mean over classes: what it responds to.
    """
    gates, names = record["gates"], record["class_names"]
    fig, axes = plots.figure(1, len(gates), (1.6 + 2.4 * len(gates), 4))
    for axis, (block, means) in zip(axes[0], gates.items(), strict=True):
        values = np.array(means)
        centred = values - values.mean(0)
        limit = max(float(abs(centred).max()), 1e-9)
        image = axis.imshow(centred, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for (row, branch), value in np.ndenumerate(values):
            ink = "white" if abs(centred[row, branch]) > 0.6 * limit else "black"
            style = {"ha": "center", "va": "center", "fontsize": 6, "color": ink}
            axis.text(branch, row, f"{value:.2f}", **style)
        axis.set_xticks(range(values.shape[1]))
        axis.set_yticks(range(len(names)), names if axis is axes[0][0] else [""] * len(names))
        axis.set(title=block, xlabel="branch")
        fig.colorbar(image, ax=axis, shrink=0.8)
    title = "mean gate per class\ncolour: difference from the branch's mean"
    fig.suptitle(f"{record['run']}: {title}", fontsize=8)
    plots.save(fig, path)
