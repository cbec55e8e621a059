"""The claims and runs as text: what `reproduce` lists and what it writes into the READMEs."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from jaxcifar.claims.claim import BEST, LAST, Claim, Comparison, last_epoch
from jaxcifar.claims.judge import EXCEEDED, FAILS, HOLDS, UNDECIDED, UNMEASURED, Judgement, Test
from jaxcifar.claims.records import Record, Records
from jaxcifar.claims.reports import HEADLINES, RUNS
from jaxcifar.stats.intervals import LEVEL, holm, mean_std

Judged = Mapping[Claim, Judgement]
MARKS = ("<!-- claims: made by `python -m jaxcifar.reproduce --table` -->", "<!-- /claims -->")
INTRODUCTION = """# Results

Every claim of the five reports, judged from the records in `runs/` (one JSON file per run and
seed: config, metrics of each epoch, device, versions, commit). This page is generated:

    python -m jaxcifar.reproduce --table
"""
LEGEND = (
    "Mean ± standard deviation of n seeds. A figure holds where one more run of ours could give"
    " it and the 95 % interval of our mean is within 1.5 points of it; undecided: only the first"
    " is so. In all,"
)
JUDGING = """
## How a claim is judged

A report gives one run, our side n seeds. Only full-length runs on the real CIFAR-10 count. The
reports call the test set validation and quote its best epoch; where we do the same we say
"selected on test", and beside it stands the last epoch and what the selection is worth.

- **A figure** is compared with what one more run of ours would give: the 95 % prediction interval
  m ± t·s·√(1 + 1/n), widened by half the last digit reported. The spread s is pooled over the runs
  of the same page; not those that diverged, and not where an F test at 20 % finds the run's own
  spread to be another. Inside, and the 95 % interval of our mean within 1.5 points (10 % of a
  loss) of it: *holds*. Inside only: *undecided*. Outside: *does not hold* where ours is worse,
  *exceeded* where it is better: the number is reached, the report's run is not reproduced.
- **A statement** is a comparison with a bound, two runs paired by seed: by the 95 % t-interval
  of the differences it *holds*, *does not hold* or is *undecided*. Several comparisons are
  corrected for their number (Holm); "X is the best" means that X beats each other run. One seed
  decides nothing, unless it is beyond five times the spread between runs. P(best) is how often a
  run has the highest mean when the seeds are drawn again.
- **Undecided** says how many more seeds decide if they leave mean and spread as they are.
- **Many claims**: of 45 tests at 95 % about two fail by chance. "Does not hold" is therefore said
  only where it stands Holm's correction over all claims measured; one that does not is undecided.
- A claim about speed is judged only on the kind of device that it names.
"""
PICTURES = """
## Pictures

Dashed: training; solid: test; the mean of the seeds in a band of one standard deviation on either
side (weights: from the least to the most). Gates are of the first seed.
"""


def claims_table(judged: Judged, records: Records) -> str:
    """Returns the Markdown table of the claims: reported, measured with n and spread, verdict.

    Those not yet measured are one line below it.
    """
    rows = ["| claim | reported | measured | n | verdict |", "|---|---|---|---|---|"]
    for claim, judgement in judged.items():
        if judgement.n:
            text = claim.text + (f" ({claim.note})" if claim.note else "")
            rows.append(
                f"| {claim.id} | {text} | {measured(claim, judgement, records)} |"
                f" {judgement.n} | {verdict(judgement)} |"
            )
    missing = (f"{claim.id} ({claim.text})" for claim, j in judged.items() if not j.n)
    return "\n".join(rows) + not_yet(missing)


def headline_table(judged: Judged, records: Records) -> str:
    """Returns the README's table: a figure or a few of each system, and how the claims stand."""
    rows = ["| system | reported | ours | n | verdict |", "|---|---|---|---|---|"]
    chosen = {claim: judgement for claim, judgement in judged.items() if claim.id in HEADLINES}
    for claim, judgement in chosen.items():
        if judgement.n:
            (test,) = judgement.tests
            ours = spread(test.values) + beside(test.comparison, records)
            rows.append(
                f"| {claim.runs[0]} | {claim.reported} | {ours} |"
                f" {judgement.n} | {verdict(judgement)} |"
            )
    missing = (f"{c.runs[0]} (reported {c.reported})" for c, j in chosen.items() if not j.n)
    return "\n".join(rows) + not_yet(missing) + f"\n\n{LEGEND} {verdicts(judged)}."


def not_yet(names: Iterable[str]) -> str:
    """Returns the line of what is not yet measured, to stand below a table."""
    text = ", ".join(names)
    return f"\n\nNot yet measured: {text}." if text else ""


def verdict(judgement: Judgement) -> str:
    """Returns the verdict in words, with what would decide one that is undecided."""
    if judgement.verdict == EXCEEDED:
        return f"{EXCEEDED}: reached, not reproduced"
    if judgement.verdict != UNDECIDED:
        return judgement.verdict
    if judgement.more is None:
        return f"{UNDECIDED} (one seed does not tell)"
    if math.isinf(judgement.more):
        return f"{UNDECIDED} (by no number of seeds)"
    if judgement.more > 1000:
        return f"{UNDECIDED} (over 1,000 more seeds)"
    return f"{UNDECIDED} ({judgement.more:.0f} more seed{'s' * (judgement.more > 1)})"


def measured(claim: Claim, judgement: Judgement, records: Records) -> str:
    """Returns what was measured in words: mean ± std, its interval, and what it is to reach.

    Beside a best epoch stands the last.
    """
    texts, named = [], ""
    for _, group in itertools.groupby(judgement.tests, lambda t: (t.comparison.metric, t.values)):
        tests = list(group)
        comparison = tests[0].comparison
        name = comparison.metric.name if comparison.metric.name != named else ""
        runs = " − ".join(short(run) for run in comparison.runs) if comparison.other else ""
        text = f"{', '.join(filter(None, (name, runs)))}: {number(tests[0])}"
        text += beside(comparison, records)
        if claim.reported is None and not (claim.best and named):
            text += ", holds at " + " and ".join(goal(test.comparison) for test in tests)
        named = comparison.metric.name
        texts.append(text)
    if claim.reported is not None:
        texts.append(f"reported {claim.reported:g}")
    if judgement.chance_of_best is not None:
        texts.append(f"P(best) {judgement.chance_of_best:.2f}{not_told_apart(judgement)}")
    return "; ".join(texts)


def goal(comparison: Comparison) -> str:
    """Returns what the number is to reach."""
    return f"{'≤' if comparison.lower else '≥'} {comparison.bound:g}"


def beside(comparison: Comparison, records: Records) -> str:
    """Returns what stands beside a best epoch: the last, and what selecting on test is worth."""
    if comparison.metric is not BEST:
        return ""
    last = dataclasses.replace(comparison, metric=LAST).values(records)
    text = f", last epoch {spread(last)}"
    if comparison.other:
        return text
    worth = mean_std(comparison.values(records))[0] - mean_std(last)[0]
    return f"{text} (selection is worth {worth:.4f})"


def number(test: Test, bold: str = "**") -> str:
    """Returns "**mean ± std** (95 %: low to high)"."""
    text = f"{bold}{spread(test.values)}{bold}"
    if test.interval is None:
        return text
    low, high = (decimals(value, mean_std(test.values)[0]) for value in test.interval)
    return f"{text} (95 %: {low} to {high})"


def not_told_apart(judgement: Judgement) -> str:
    """Returns the runs of a sweep whose difference from the named one could be chance, in words."""
    chances = holm([test.chance for test in judgement.tests])
    pairs = zip(judgement.tests, chances, strict=True)
    runs = [short(test.comparison.other) for test, chance in pairs if chance > LEVEL]
    return f", not told apart from {', '.join(runs)}" if runs else ""


def spread(values: Sequence[float]) -> str:
    """Returns "mean ± std", or the one value."""
    mean, std = mean_std(values)
    return decimals(mean, mean) + (f" ± {decimals(std, mean)}" if len(values) > 1 else "")


def decimals(value: float, size: float) -> str:
    """Returns the value with four decimals, with one beside a `size` of ten or more."""
    return f"{value:.{4 if abs(size) < 10 else 1}f}"


def short(run: str) -> str:
    """Returns a run's name without its page, "simple_cnn:l1" -> "l1"."""
    return run.partition(":")[2] or run


def runs_table(records: Records) -> str:
    """Returns the Markdown table of all runs: last epoch, best epoch, time, speed, device."""
    rows = [
        "| run | n | test accuracy, last | best (selected on test) | best − last |"
        " train accuracy | train loss | test loss | minutes | examples/s | device |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    metrics = [LAST.of, BEST.of, selection_worth] + [
        last_epoch(key).of for key in ("train_accuracy", "train_loss", "test_loss")
    ]
    for run in RUNS:
        seeds = list(records[run].values())
        if not seeds:
            continue
        cells = [run, str(len(seeds))]
        cells += [spread([of(record) for record in seeds]) for of in metrics]
        cells.append(f"{mean_std([record['seconds'] / 60 for record in seeds])[0]:.1f}")
        cells.append(f"{mean_std([r['examples_per_second'] for r in seeds])[0]:,.0f}")
        cells.append(", ".join(sorted({record["device"] for record in seeds})))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + not_yet(run for run in RUNS if not records[run])


def selection_worth(record: Record) -> float:
    """Returns how far the best epoch, selected on the test set, is above the last."""
    return BEST.of(record) - LAST.of(record)


def verdicts(judged: Judged) -> str:
    """Returns how many claims hold, do not hold, and are not yet measured, in one sentence."""
    found = [judgement.verdict for judgement in judged.values()]
    order = (HOLDS, EXCEEDED, UNDECIDED, FAILS, UNMEASURED)
    return f"{len(found)} claims: " + ", ".join(f"{found.count(v)} {v}" for v in order)


def page(out: pathlib.Path, records: Records, judged: Judged, pictures: Iterable[str]) -> str:
    """Returns results/README.md."""
    notes = out / "notes.md"
    parts = [
        INTRODUCTION,
        f"{verdicts(judged)}.\n",
        "![every claim's number with its interval beside the reported one](figures/claims.png)\n",
        claims_table(judged, records),
        JUDGING,
        "## Runs\n",
        runs_table(records),
        "\n" + notes.read_text() if notes.exists() else "",
        PICTURES,
        *(f"![{name}](figures/{name})\n" for name in pictures),
    ]
    return "\n".join(parts)
