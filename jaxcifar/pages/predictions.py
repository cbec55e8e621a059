"""What a net says of the test images, as parts of a page."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.claims.measure import class_means
from jaxcifar.pages import charts, tables
from jaxcifar.pages.charts import Axes, Series
from jaxcifar.pages.findings import Run, Scores
from jaxcifar.pages.markup import Child, tag
from jaxcifar.pages.pictures import picture, sheet
from jaxcifar.pages.tables import Row, Span
from jaxcifar.stats.accuracy import mcnemar, wilson
from jaxcifar.stats.calibration import BINS, ece, reliability

SHOWN = 12  # images of a kind
TOP = 3  # classes of each
BRANCH_IMAGES = 6


def scored(runs: Sequence[Run]) -> list[tuple[int, str, Scores]]:
    """Returns number, name and scores of the runs that have some."""
    return [(i, run.name, run.scores) for i, run in enumerate(runs) if run.scores is not None]


def under(name: str, runs: Sequence[Run], content: Iterable[Child]) -> Element:
    """Returns the content under the run's name, where there are several."""
    return tag("div", tag("h3", name) if len(runs) > 1 else None, content)


def class_accuracy(runs: Sequence[Run]) -> list[Element]:
    """Returns the accuracy of each class with its interval, the runs below one another."""
    found = scored(runs)
    if not found:
        return []
    names = dict.fromkeys(name for _, _, scores in found for name in scores.class_names)
    rows = []
    for label in names:
        spans, words = [], []
        for i, _, scores in found:
            if label not in scores.class_names:
                continue
            mine = scores.examples.labels == scores.class_names.index(label)
            hits, n = int(scores.right[mine].sum()), int(mine.sum())
            ends = wilson(hits, n)
            spans.append(Span.of_run(hits / max(n, 1), ends, i))
            text = f"{hits / max(n, 1):.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
            words.append(tag("span", text, class_=f"line c{i % charts.COLOURS}"))
        rows.append(Row(label, spans, tag("div", words)))
    low = min(span.low for row in rows for span in row.spans)
    caption = "Share of each class that is recognised, with Wilson's 95 % interval"
    table = tables.intervals(caption, rows, (max(0.0, low - 0.03), 1.0))
    keys = [tag("span", name, class_=f"line c{i % charts.COLOURS}") for i, name, _ in found]
    return [*([tag("p", keys, class_="keys")] if len(found) > 1 else []), table, *against(found)]


def against(found: Sequence[tuple[int, str, Scores]]) -> list[Element]:
    """Returns how the first run and each other on the same images differ, by McNemar's test."""
    _, name, first = found[0]
    parts = []
    for _, other, second in found[1:]:
        if np.array_equal(first.examples.images, second.examples.images):
            alone = int((first.right & ~second.right).sum())
            others = int((second.right & ~first.right).sum())
            text = (
                f"Right alone: {name} on {alone:,} images, {other} on {others:,}; McNemar's exact"
                f" test, p = {mcnemar(alone, others):.2g}."
            )
            parts.append(tag("p", text))
    return parts


def confusion(runs: Sequence[Run]) -> list[Element]:
    """Returns the confusion matrix of each run."""
    parts = []
    for _, name, scores in scored(runs):
        matrix, names = scores.matrix, scores.class_names
        share = matrix / matrix.sum(1, keepdims=True).clip(1)
        texts = [[str(count) if count else "·" for count in row] for row in matrix.tolist()]
        caption = "Images by true class (rows) and predicted class (columns)"
        table = tables.heat(caption, "true ↓ predicted →", names, names, texts, share)
        outside = len(scores.examples.labels) - int(matrix.sum())
        note = f"{outside:,} images are predicted as a class that the data do not have."
        parts.append(under(name, runs, [table, tag("p", note) if outside else None, worst(scores)]))
    return parts


def worst(scores: Scores, shown: int = 3) -> Element:
    """Returns the most frequent confusions, in words."""
    wrong = scores.matrix * (1 - np.eye(len(scores.matrix), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:shown]
    pairs = [np.unravel_index(i, wrong.shape) for i in order if wrong.flat[i]]
    names = scores.class_names
    words = [f"{names[i]} taken for {names[j]} ({wrong[i, j]})" for i, j in pairs]
    return tag("p", f"Most often: {', '.join(words)}." if words else "No image is confused.")


def calibration(runs: Sequence[Run]) -> list[Element]:
    """Returns the reliability diagram, how sure the nets are, and the calibration error."""
    found = scored(runs)
    if not found:
        return []
    diagram = [Series("as sure as right", (0, 1), (0, 1), kind="reference")]
    shares, words = [], []
    for i, name, scores in found:
        labels, probabilities = scores.examples.labels, scores.probabilities
        bins = reliability(probabilities, labels)
        full = bins.images > 0
        hits, images = bins.hits[full].tolist(), bins.images[full].tolist()
        ends = [wilson(h, n) for h, n in zip(hits, images, strict=True)]
        low, high = [list(side) for side in zip(*ends, strict=True)]
        accuracy = [h / n for h, n in zip(hits, images, strict=True)]
        x = bins.confidence[full].tolist()
        diagram.append(Series(name, x, accuracy, i, "points", low, high))
        edges = (np.arange(BINS + 1) / BINS).tolist()
        share = (bins.images / bins.images.sum()).tolist()
        shares.append(charts.histogram(name, edges, share, i))
        error = ece(probabilities, labels)
        sure, right = probabilities.max(1).mean(), scores.right.mean()
        side = "too sure" if sure > right else "not sure enough"
        words.append(
            f"{name}: expected calibration error {error:.4f}; says {sure:.3f} on average and is"
            f" right in {right:.3f}: {side}."
        )
    unit = (0.0, 1.0)
    one = Axes("confidence", "accuracy", x_range=unit, y_range=(0.0, 1.02))
    made = [
        charts.chart("Right as often as it says?", diagram, one, "Whiskers: Wilson, 95 %."),
        charts.chart("How sure it is", shares, Axes("confidence", "share of images", x_range=unit)),
    ]
    note = f"{BINS} bins of one width (Guo et al. 2017). Below the diagonal: too sure."
    return [
        tag("ul", (tag("li", text) for text in words), class_="words"),
        tag("div", made, class_="charts"),
        tag("p", note, class_="note"),
    ]


def pictures_of_errors(runs: Sequence[Run]) -> list[Element]:
    """Returns the most confident mistakes and the least sure hits of each run, as pictures."""
    parts = []
    for _, name, scores in scored(runs):
        sure, right = scores.probabilities.max(1), scores.right
        wrong, hits = np.flatnonzero(~right), np.flatnonzero(right)
        mistakes = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
        unsure = hits[np.argsort(sure[hits], kind="stable")][:SHOWN]
        content = []
        for title, chosen in (
            ("Most confident mistakes", mistakes),
            ("Least sure hits", unsure),
        ):
            cards = tag("ul", (card(scores, int(i)) for i in chosen), class_="cards")
            content += [tag("h3" if len(runs) == 1 else "h4", title)]
            content += [cards if len(chosen) else tag("p", "None.")]
        parts.append(under(name, runs, content))
    return parts


def card(scores: Scores, number: int) -> Element:
    """Returns a test image with what it is and what the net makes of it."""
    label = int(scores.examples.labels[number])
    said = scores.probabilities[number]
    best = np.argsort(-said, kind="stable")[:TOP].tolist()
    truth = scores.class_names[label]
    bars = [
        tag(
            "li",
            tag("span", class_name(scores, k)),
            tag("span", f"{said[k]:.3f}"),
            style=f"--p:{said[k]:.1%}",
            class_="hit" if k == label else None,
        )
        for k in best
    ]
    alt = f"test image {number}, {truth}, taken for {class_name(scores, best[0])}"
    caption = tag("p", tag("b", truth), tag("small", f" no. {number}"))
    return tag(
        "li", picture(scores.examples.images[number], alt), caption, tag("ol", bars), class_="card"
    )


def class_name(scores: Scores, number: int) -> str:
    """Returns a class's name; a net may have more classes than the data."""
    names = scores.class_names
    return names[number] if number < len(names) else f"class {number}"


def gates(runs: Sequence[Run]) -> list[Element]:
    """Returns for each block the mean gate of each branch and class: what it answers to."""
    parts = []
    for _, name, scores in scored(runs):
        content = [block for gate in scores.gates.items() for block in _block(*gate, scores)]
        if content:
            note = (
                "Colour: how far the mean gate of a class is from the mean over the classes (orange"
                " above, blue below). Pictures: the test images with a branch's largest gates."
            )
            parts.append(under(name, runs, [tag("p", note, class_="note"), *content]))
    return parts


def _block(block: str, gate: np.ndarray, scores: Scores) -> Iterable[Element]:
    names, labels = scores.class_names, scores.examples.labels
    means = np.array(class_means(gate, labels, len(names)))
    centred = means - means.mean(0)
    yield gate_table(block, means, names)
    if not centred.any():
        yield tag("p", "The gate is the same for every class.")
        return
    each = gate.reshape(*gate.shape[:2], -1).mean(2)
    items = []
    for k in range(means.shape[1]):
        branch = f"branch {k}"
        order = np.argsort(centred[:, k])
        words = f"most {names[order[-1]]}, least {names[order[0]]}"
        strongest = np.argsort(-each[:, k], kind="stable")[:BRANCH_IMAGES]
        shown = ", ".join(names[label] for label in labels[strongest])
        images = sheet(scores.examples.images[strongest], BRANCH_IMAGES)
        alt = f"the test images with the largest gates of {branch} of {block}: {shown}"
        items.append(tag("li", tag("p", tag("b", branch), f": {words}"), picture(images, alt)))
    yield tag("ul", items, class_="strips")


def gate_table(block: str, means: np.ndarray, names: Sequence[str]) -> Element:
    """Returns a block's mean gates [C, K], coloured by their difference from the branch's mean."""
    centred = means - means.mean(0)
    share = centred / max(float(abs(centred).max()), 1e-9)
    branches = [f"branch {k}" for k in range(means.shape[1])]
    texts = [[f"{value:.3f}" for value in row] for row in means]
    caption = f"Mean gate of {block} by class"
    return tables.heat(caption, "class", names, branches, texts, share)
