"""The claims and runs as text: what `reproduce` lists and what it writes into the READMEs."""

import pathlib
from collections.abc import Iterable, Mapping

from jaxcifar.claims.judge import Claim, Judgement
from jaxcifar.claims.records import Records, best, last, mean_std
from jaxcifar.claims.reports import HEADLINES, RUNS

Judged = Mapping[Claim, Judgement]

MARKS = ("<!-- claims: made by `python -m jaxcifar.reproduce --table` -->", "<!-- /claims -->")
INTRODUCTION = """# Results

Every claim of the five reports, judged from the records in `runs/` (one JSON file per run and
seed: config, metrics of each epoch, device, versions, commit). This page is generated:

    python -m jaxcifar.reproduce --table

A figure holds if our mean does not fall short of the reported one by more than two standard
deviations, or by 1.5 points (10 % of a loss) with one seed; a statement holds if the named
comparison reaches its bound. Only full-length runs on the real CIFAR-10 count. The reports call
the test set validation and quote its best epoch; where we do the same we say "selected on test".
"""


def claims_table(judged: Judged) -> str:
    """Returns the Markdown table of the claims: reported, measured with n and spread, verdict.

    Those not yet measured are one line below it.
    """
    rows = ["| claim | reported | measured | n | verdict |", "|---|---|---|---|---|"]
    for claim, judgement in judged.items():
        if judgement.values:
            text = claim.text + (f" ({claim.note})" if claim.note else "")
            rows.append(
                f"| {claim.id} | {text} | {measured(claim, judgement)} |"
                f" {len(judgement.values)} | {verdict(judgement)} |"
            )
    return "\n".join(rows) + not_yet(
        f"{c.id} ({c.text})" for c, j in judged.items() if not j.values
    )


def headline_table(judged: Judged) -> str:
    """Returns the README's table: a figure or a few of each system, and how the claims stand."""
    rows = ["| system | reported | ours | n | verdict |", "|---|---|---|---|---|"]
    chosen = {claim: judgement for claim, judgement in judged.items() if claim.id in HEADLINES}
    for claim, judgement in chosen.items():
        if judgement.values:
            rows.append(
                f"| {claim.runs[0]} | {claim.reported} | {spread(judgement.values)} |"
                f" {len(judgement.values)} | {verdict(judgement)} |"
            )
    missing = (f"{c.runs[0]} (reported {c.reported})" for c, j in chosen.items() if not j.values)
    return "\n".join(rows) + not_yet(missing) + f"\n\nOf {verdicts(judged)}."


def not_yet(names: Iterable[str]) -> str:
    """Returns the line of what is not yet measured, to stand below a table."""
    text = ", ".join(names)
    return f"\n\nNot yet measured: {text}." if text else ""


def verdict(judgement: Judgement) -> str:
    """Returns the verdict in words."""
    return judgement.verdict + " (ours is better)" * judgement.better


def measured(claim: Claim, judgement: Judgement) -> str:
    """Returns the measured number in words: what it is, mean ± std, and what it had to reach."""
    if claim.reported is not None:
        goal = f"reported {claim.reported:g}"
    else:
        goal = f"holds at {'≤' if claim.lower else '≥'} {claim.bound:g}"
    number = f"**{spread(judgement.values)}**, " if judgement.values else ""
    return f"{claim.what}: {number}{goal}"


def spread(values: tuple[float, ...]) -> str:
    """Returns "mean ± std", or the one value."""
    mean, std = mean_std(values)
    digits = 4 if abs(mean) < 10 else 1
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if len(values) > 1 else "")


def runs_table(records: Records) -> str:
    """Returns the Markdown table of all runs: last epoch, best epoch, time, speed, device."""
    rows = [
        "| run | n | test accuracy, last | best (selected on test) | train accuracy |"
        " train loss | test loss | minutes | examples/s | device |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in RUNS:
        seeds = list(records[run].values())
        if not seeds:
            continue
        keys = ("test_accuracy", "train_accuracy", "train_loss", "test_loss")
        ends = {key: spread(tuple(last(r, key) for r in seeds)) for key in keys}
        minutes = mean_std([r["seconds"] / 60 for r in seeds])[0]
        rate = mean_std([r["examples_per_second"] for r in seeds])[0]
        rows.append(
            f"| {run} | {len(seeds)} | {ends['test_accuracy']} |"
            f" {spread(tuple(best(r) for r in seeds))} | {ends['train_accuracy']} |"
            f" {ends['train_loss']} | {ends['test_loss']} | {minutes:.1f} | {rate:,.0f} |"
            f" {', '.join(sorted({r['device'] for r in seeds}))} |"
        )
    return "\n".join(rows) + not_yet(run for run in RUNS if not records[run])


def verdicts(judged: Judged) -> str:
    """Returns how many claims hold, do not hold, and are not yet measured, in one sentence."""
    found = [judgement.verdict for judgement in judged.values()]
    counts = {verdict: found.count(verdict) for verdict in sorted(set(found))}
    return f"{len(found)} claims: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def page(out: pathlib.Path, records: Records, judged: Judged, pictures: Iterable[str]) -> str:
    """Returns results/README.md."""
    notes = out / "notes.md"
    parts = [
        INTRODUCTION,
        f"{verdicts(judged)}.\n",
        claims_table(judged),
        "\n## Runs\n",
        runs_table(records),
        "\n" + notes.read_text() if notes.exists() else "",
        "\n## Pictures\n\nOf the first seed. Dashed: training; solid: test.\n",
        *(f"![{name}](figures/{name})\n" for name in pictures),
    ]
    return "\n".join(parts)
