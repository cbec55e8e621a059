"""The claims and runs as text: what `reproduce` lists and what it writes into the READMEs."""

import pathlib

from jaxcifar.claims import records as results
from jaxcifar.claims.judge import Claim, Judgement, judge
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.errors import UserError

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


def claims_table(out: pathlib.Path) -> str:
    """Returns the Markdown table of all claims: reported, measured with n and spread, verdict."""
    rows = ["| claim | reported | measured | n | verdict |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        judgement = judge(claim, out)
        verdict = judgement.verdict + " (ours is better)" * judgement.better
        text = claim.text + (f" ({claim.note})" if claim.note else "")
        rows.append(
            f"| {claim.id} | {text} | {measured(claim, judgement)} |"
            f" {len(judgement.values) or '–'} | {verdict} |"
        )
    return "\n".join(rows)


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
    mean, std = results.mean_std(values)
    digits = 4 if abs(mean) < 10 else 1
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if len(values) > 1 else "")


def runs_table(out: pathlib.Path) -> str:
    """Returns the Markdown table of all runs: last epoch, best epoch, time, speed, device."""
    rows = [
        "| run | n | test accuracy, last | best (selected on test) | train accuracy |"
        " train loss | test loss | minutes | examples/s | device |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in RUNS:
        records = list(results.seeds_of(out, run).values())
        if not records:
            rows.append(f"| {run} | – | not yet measured |" + " – |" * 7)
            continue
        keys = ("test_accuracy", "train_accuracy", "train_loss", "test_loss")
        last = {key: spread(tuple(results.last(r, key) for r in records)) for key in keys}
        minutes = results.mean_std([r["seconds"] / 60 for r in records])[0]
        rate = results.mean_std([r["examples_per_second"] for r in records])[0]
        rows.append(
            f"| {run} | {len(records)} | {last['test_accuracy']} |"
            f" {spread(tuple(results.best(r) for r in records))} | {last['train_accuracy']} |"
            f" {last['train_loss']} | {last['test_loss']} | {minutes:.1f} | {rate:,.0f} |"
            f" {', '.join(sorted({r['device'] for r in records}))} |"
        )
    return "\n".join(rows)


def verdicts(out: pathlib.Path) -> str:
    """Returns how many claims hold, do not hold, and are not yet measured, in one sentence."""
    found = [judge(claim, out).verdict for claim in CLAIMS]
    counts = {verdict: found.count(verdict) for verdict in sorted(set(found))}
    return f"{len(CLAIMS)} claims: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def page(out: pathlib.Path, pictures: list[str]) -> str:
    """Returns results/README.md."""
    notes = out / "notes.md"
    parts = [
        INTRODUCTION,
        f"{verdicts(out)}.\n",
        claims_table(out),
        "\n## Runs\n",
        runs_table(out),
        "\n" + notes.read_text() if notes.exists() else "",
        "\n## Pictures\n\nOf the first seed. Dashed: training; solid: test.\n",
        *(f"![{name}](figures/{name})\n" for name in pictures),
    ]
    return "\n".join(parts)


def replace_between_marks(text: str, table: str, name: str) -> str:
    """Returns a README's text with what stands between the marks replaced by the table."""
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (start and end):
        raise UserError(f"{name} lacks the lines {MARKS[0]!r} and {MARKS[1]!r}")
    return f"{before}{start}\n{table}\n{end}{after}"
