"""Shows what nets predict for the test images: by class, calibration, mistakes and gates."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from jaxcifar.claims.measure import class_means
from jaxcifar.figures import heatmaps
from jaxcifar.figures.chart import Chart, Estimate, Forest, Heatmap, Row, Series
from jaxcifar.figures.weights import histogram
from jaxcifar.models.adaptive import branch_means
from jaxcifar.pages import svg, tables
from jaxcifar.pages.markup import Child, tag
from jaxcifar.pages.pictures import picture, sheet
from jaxcifar.pages.runs import Run, Scores
from jaxcifar.stats.accuracy import mcnemar, p_text, wilson
from jaxcifar.stats.calibration import BINS, ece, reliability
from jaxcifar.weights.net import name_outputs

CARDS = 12  # images under each title
PAIRS = 30  # of classes, in the table of the most confused
TOP_CLASSES = 3  # on a card
BRANCH_IMAGES = 6


def scored(runs: Sequence[Run]) -> list[tuple[int, str, Scores]]:
    """Returns the index, name and scores of each run that has scores."""
    return [(i, run.name, run.scores) for i, run in enumerate(runs) if run.scores is not None]


def under_name(name: str, runs: Sequence[Run], content: Iterable[Child]) -> Element:
    """Returns the content, under the run's name if there are several runs."""
    return tag("div", tag("h3", name) if len(runs) > 1 else None, content)


def class_accuracy(runs: Sequence[Run]) -> list[Element]:
    """Returns the accuracy of each class with its interval, and McNemar's tests between runs."""
    found = scored(runs)
    if not found:
        return []
    names = dict.fromkeys(name for _, _, scores in found for name in scores.class_names)
    rows = [
        Row(
            name,
            [_estimate(scores, name, i) for i, _, scores in found if name in scores.class_names],
        )
        for name in names
    ]
    low = min(estimate.low for row in rows for estimate in row.estimates)
    title = "Accuracy of each class, with Wilson's 95 % interval"
    table = tables.forest(Forest(title, rows, (max(0.0, low - 0.03), 1.0)))
    keys = [tag("span", name, class_=f"line c{i % svg.COLOURS}") for i, name, _ in found]
    return [*([tag("p", keys, class_="keys")] if len(found) > 1 else []), table, *_mcnemar(found)]


def _estimate(scores: Scores, name: str, number: int) -> Estimate:
    """Returns the accuracy of the class `name` in the colour of run `number`."""
    mine = scores.examples.labels == scores.class_names.index(name)
    hits, n = int(scores.right[mine].sum()), int(mine.sum())
    low, high = wilson(hits, n)
    accuracy = hits / max(n, 1)
    text = f"{accuracy:.4f} (95 %: {low:.4f} to {high:.4f})" if n else "no images"
    return Estimate(accuracy, low, high, f"c{number % svg.COLOURS}", text)


def _mcnemar(found: Sequence[tuple[int, str, Scores]]) -> list[Element]:
    """Returns McNemar's test of the first run against each other one with the same test images."""
    _, name, first = found[0]
    parts = []
    for _, other, second in found[1:]:
        if all(map(np.array_equal, first.examples, second.examples)):
            alone, others, p_value = mcnemar(first.right, second.right)
            text = (
                f"Only {name} is right on {alone:,} images, and only {other} on {others:,};"
                f" McNemar's exact test gives {p_text(p_value)}."
            )
            parts.append(tag("p", text))
    return parts


def confusion(runs: Sequence[Run]) -> list[Element]:
    """Returns the confusion matrix of each run."""
    parts = []
    for _, name, scores in scored(runs):
        caption = "Images by true class (rows) and predicted class (columns)"
        heatmap = heatmaps.confusion(scores.matrix, scores.class_names, caption)
        outside = len(scores.examples.labels) - int(scores.matrix.sum())
        note = tag("p", f"{outside:,} images are predicted as a class that the data do not have.")
        shown = _confused(scores) if heatmap.is_crowded else tables.heat(heatmap, caption)
        content = [shown, note if outside else None, _worst(scores)]
        parts.append(under_name(name, runs, content))
    return parts


def _confused(scores: Scores) -> Element:
    """Returns the most confused pairs of classes, for more classes than a matrix can show."""
    images = scores.matrix.sum(1)
    rows = [
        (scores.class_names[i], scores.class_names[j], f"{count:,}", f"{count / images[i]:.1%}")
        for i, j, count in _mistakes(scores, PAIRS)
    ]
    caption = (
        f"The {len(rows)} most confused pairs of the {len(images)} classes; `evaluate` writes the"
        " whole matrix as a PNG and a JSON file"
    )
    return tables.plain(caption, ("true", "predicted", "images", "share of the class"), rows)


def _mistakes(scores: Scores, shown: int) -> list[tuple[int, int, int]]:
    """Returns the most frequent (true class, predicted class, number of images)."""
    wrong = scores.matrix * (1 - np.eye(len(scores.matrix), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:shown]
    pairs = (divmod(int(i), len(wrong)) for i in order if wrong.flat[i])
    return [(i, j, int(wrong[i, j])) for i, j in pairs]


def _worst(scores: Scores) -> Element:
    """Returns the three most frequent mistakes in words."""
    names = scores.class_names
    words = [f"{names[i]} as {names[j]} ({n})" for i, j, n in _mistakes(scores, 3)]
    text = f"Most frequent mistakes: {', '.join(words)}." if words else "There are no mistakes."
    return tag("p", text)


def calibration(runs: Sequence[Run]) -> list[Element]:
    """Returns the reliability diagram, the distribution of confidence, and the ECE."""
    found = scored(runs)
    if not found:
        return []
    diagram = [Series("accuracy = confidence", (0, 1), (0, 1), kind="reference")]
    shares, words = [], []
    for i, name, scores in found:
        bins = reliability(scores.probabilities, scores.examples.labels)
        full = bins.images > 0
        hits, images = bins.hits[full].tolist(), bins.images[full].tolist()
        ends = [wilson(h, n) for h, n in zip(hits, images, strict=True)]
        low, high = [list(side) for side in zip(*ends, strict=True)]
        accuracy = [h / n for h, n in zip(hits, images, strict=True)]
        x = bins.confidence[full].tolist()
        diagram.append(Series(name, x, accuracy, i, "points", low, high))
        edges = np.arange(BINS + 1) / BINS
        shares.append(histogram(name, edges, bins.images / bins.images.sum(), i))
        words.append(_calibration_text(name, scores))
    unit = (0.0, 1.0)
    label = "confidence"
    reliable = Chart("Reliability", diagram, label, "accuracy", x_range=unit, y_range=(0.0, 1.02))
    sure = Chart("Confidence", shares, label, "share of images", x_range=unit)
    drawn = [svg.draw(reliable, "Whiskers are Wilson's 95 % intervals."), svg.draw(sure)]
    note = (
        f"There are {BINS} bins of equal width (Guo et al. 2017). A point below the diagonal means"
        " that the net is overconfident there."
    )
    return [
        tag("ul", (tag("li", text) for text in words), class_="words"),
        tag("div", drawn, class_="charts"),
        tag("p", note, class_="note"),
    ]


def _calibration_text(name: str, scores: Scores) -> str:
    confidence, accuracy = scores.probabilities.max(1).mean(), scores.right.mean()
    side = "overconfident" if confidence > accuracy else "underconfident"
    return (
        f"{name}: expected calibration error"
        f" {ece(scores.probabilities, scores.examples.labels):.4f}; mean confidence"
        f" {confidence:.3f}, accuracy {accuracy:.3f}. The net is {side}."
    )


def pictures_of_errors(runs: Sequence[Run]) -> list[Element]:
    """Returns the most confident mistakes and the least confident hits of each run."""
    parts = []
    for _, name, scores in scored(runs):
        sure, right = scores.probabilities.max(1), scores.right
        wrong, hits = np.flatnonzero(~right), np.flatnonzero(right)
        mistakes = wrong[np.argsort(-sure[wrong], kind="stable")][:CARDS]
        unsure = hits[np.argsort(sure[hits], kind="stable")][:CARDS]
        content = []
        for title, chosen in (
            ("Most confident mistakes", mistakes),
            ("Least confident correct predictions", unsure),
        ):
            cards = tag("ul", (card(scores, int(i)) for i in chosen), class_="cards")
            content += [tag("h3" if len(runs) == 1 else "h4", title)]
            content += [cards if len(chosen) else tag("p", "None.")]
        parts.append(under_name(name, runs, content))
    return parts


def card(scores: Scores, number: int) -> Element:
    """Returns a test image with its true class and the most probable classes."""
    label = int(scores.examples.labels[number])
    probabilities = scores.probabilities[number]
    best = np.argsort(-probabilities, kind="stable")[:TOP_CLASSES].tolist()
    names = name_outputs(scores.class_names, len(probabilities))
    bars = [
        tag(
            "li",
            tag("span", names[k]),
            tag("span", f"{probabilities[k]:.3f}"),
            style=f"--p:{probabilities[k]:.1%}",
            class_="hit" if k == label else None,
        )
        for k in best
    ]
    predicted = f"{names[best[0]]} {probabilities[best[0]]:.2f}"
    alt = f"test image {number}, labelled {names[label]}, predicted {predicted}"
    words = "labelled ", tag("b", names[label]), ", predicted ", tag("b", predicted)
    caption = tag("p", words, tag("small", f"test image {number}"))
    return tag(
        "li", picture(scores.examples.images[number], alt), caption, tag("ol", bars), class_="card"
    )


def gates(runs: Sequence[Run]) -> list[Element]:
    """Returns the mean gate of each branch for each class, block by block."""
    parts = []
    for _, name, scores in scored(runs):
        content = [part for gate in scores.gates.items() for part in _block(*gate, scores)]
        if content:
            note = (
                "The tables show class means: the mean gate over all test images of a class. Their"
                " colour is that mean minus the mean over all classes (orange above, blue below)."
                " The pictures show single images: those with a branch's largest gates."
            )
            parts.append(under_name(name, runs, [tag("p", note, class_="note"), *content]))
    return parts


def _block(block: str, gate: np.ndarray, scores: Scores) -> Iterable[Element]:
    names, labels = scores.class_names, scores.examples.labels
    heatmap = heatmaps.mean_gates(block, np.array(class_means(gate, labels, len(names))), names)
    yield gate_table(heatmap)
    if not heatmap.values.any():
        yield tag("p", "The gate is the same for every class.")
        return
    by_branch, with_images = branch_means(gate), np.unique(labels)
    items = []
    for k, differences in enumerate(heatmap.values.T):
        branch, order = f"branch {k}", with_images[np.argsort(differences[with_images])]
        words = f"class means: highest for {names[order[-1]]}, lowest for {names[order[0]]}"
        strongest = np.argsort(-by_branch[:, k], kind="stable")[:BRANCH_IMAGES]
        shown = ", ".join(names[label] for label in labels[strongest])
        images = sheet(scores.examples.images[strongest], BRANCH_IMAGES)
        alt = f"the test images with the largest gates of {branch} of {block}: {shown}"
        below = tag("small", f"single images with the largest gates: {shown}")
        items.append(
            tag("li", tag("p", tag("b", branch), ", ", words), picture(images, alt), below)
        )
    yield tag("ul", items, class_="strips")


def gate_table(heatmap: Heatmap) -> Element:
    """Returns the table of a block's mean gates."""
    return tables.heat(heatmap, f"Mean gate of {heatmap.title} by class")
