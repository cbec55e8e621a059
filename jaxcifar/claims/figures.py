"""The reports' pictures, drawn from the records: curves, weights, and what the gates respond to."""

import pathlib
from collections.abc import Mapping

import numpy as np

from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.reports import L2_SWEEP, LR_SWEEP, RUNS
from jaxcifar.run import plots

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


def draw(out: pathlib.Path, records: Records) -> list[str]:
    """Draws every picture whose runs are there into out/figures; returns the file names."""
    directory = out / "figures"
    directory.mkdir(parents=True, exist_ok=True)
    names = []
    for name, (title, labels) in CURVES.items():
        found = {label: _first_seed(records[run]) for label, run in labels.items()}
        lines = {label: record["epochs"] for label, record in found.items() if record}
        if len(lines) == len(labels):
            plots.curves(directory / f"{name}.png", lines, title)
            names.append(f"{name}.png")
    weights = {label: _first_seed(records[run]) for label, run in HISTOGRAM.items()}
    if all(weights.values()):
        draw_weights(directory / "003_fig11_weights.png", weights)
        names.append("003_fig11_weights.png")
    for run in RUNS:
        record = _first_seed(records[run])
        if record and record["gates"]:
            name = f"gates_{run.replace(':', '_')}.png"
            draw_gates(directory / name, record)
            names.append(name)
    return names


def draw_weights(path: pathlib.Path, records: Mapping[str, Record | None]) -> None:
    """Draws the distributions of all weights of the runs, on a logarithmic scale."""
    fig, axes = plots.figure(1, 1, (7, 4))
    axis = axes[0][0]
    for label, record in records.items():
        assert record is not None
        weights = record["weights"]
        limits: tuple[float, float] = weights["range"]
        edges = np.linspace(*limits, len(weights["counts"]) + 1)
        share = np.array(weights["counts"]) / weights["total"]
        close = weights["share_below"]["0.001"]
        axis.stairs(share, edges, label=f"{label}: {close:.1%} of the weights within ±0.001")
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


def _first_seed(seeds: Mapping[int, Record]) -> Record | None:
    return seeds[min(seeds)] if seeds else None
