"""Makes the page of all claims of the reports, with their evidence and the charts."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from jaxcifar.claims import figures, records
from jaxcifar.claims import tables as words
from jaxcifar.claims.claim import Claim
from jaxcifar.claims.judge import VERDICTS, Judgement, judge_all
from jaxcifar.claims.records import Records
from jaxcifar.claims.reports import CLAIMS, RUNS
from jaxcifar.figures.chart import share_axes
from jaxcifar.pages import markup, svg, tables
from jaxcifar.pages.markup import Child, Section, tag
from jaxcifar.pages.predictions import gate_table

Judged = Mapping[Claim, Judgement]


def page(study: pathlib.Path, out: pathlib.Path) -> str:
    """Returns the page of the records in the folder `study`; its links are relative to `out`.

    Raises:
      UserError: a file in the folder is not a record.
    """
    found = records.read(study, RUNS)
    judged = judge_all(CLAIMS, found)
    base = pathlib.Path(os.path.relpath(study.resolve(), out.resolve().parent))
    count = sum(len(seeds) for seeds in found.values())
    text = f"Every claim of the five reports, judged from {count} runs. {words.verdicts(judged)}."
    readme = _link(base / "README.md")
    lead = [tag("p", text), tag("p", "How claims are judged, and all numbers: ", readme, ".")]
    parts = [Section("Verdicts", overview(judged))]
    for report in dict.fromkeys(claim.report for claim in judged):
        own = [_claim(c, j, found, study, base) for c, j in judged.items() if c.report == report]
        parts.append(Section(f"Report {report}", own))
    parts += [
        Section("Charts", curves(found, study, base)),
        Section("Weights", weights(found)),
        Section("Gates", gates(found)),
        Section("Runs", runs(found)),
    ]
    title = "The claims of five reports, tested"
    return markup.page(title, lead, [part for part in parts if part.content])


def _link(path: pathlib.Path, text: str = "") -> Element:
    return tag("a", text or path.name, href=path.as_posix())


def _badge(verdict: str, text: str) -> Element:
    return tag("span", text, class_=f"verdict {tables.css_class(verdict)}")


def overview(judged: Judged) -> list[Element]:
    """Returns the forest plots of all measured claims, and links to the others."""
    parts = [
        tag("p", (_badge(verdict, verdict) for verdict in VERDICTS)),
        tag("p", figures.FOREST_TITLE),
    ]
    parts += [tables.forest(forest, "#claim-") for forest in figures.forests(judged)]
    missing = [
        tag("li", tag("a", claim.id, href=f"#claim-{claim.id}"), f" {claim.text}")
        for claim, judgement in judged.items()
        if not judgement.n
    ]
    if missing:
        parts += [tag("h3", "Not yet measured"), tag("ul", missing, class_="words")]
    return parts


def _claim(
    claim: Claim, judgement: Judgement, found: Records, study: pathlib.Path, base: pathlib.Path
) -> Element:
    """Returns a claim: its text, its verdict, the measured numbers, and the runs by seed."""
    verdict = _badge(judgement.verdict, words.verdict(judgement))
    parts = [tag("h3", claim.id, " ", verdict), tag("p", f"“{claim.text}”")]
    if claim.note:
        parts.append(tag("p", claim.note, class_="note"))
    if not judgement.n:
        parts.append(tag("p", f"Needs runs of {', '.join(claim.runs)}.", class_="note"))
        return tag("article", parts, id=f"claim-{claim.id}")
    parts.append(tag("p", words.measured(claim, judgement).replace("**", "")))
    seeds = sorted(set.union(*(set(found[run]) for run in claim.runs)))
    metric, rows = claim.comparisons[0].metric, []
    for run in claim.runs:
        cells: dict[int, Child] = dict.fromkeys(seeds, "–")
        for seed, record in found[run].items():
            value = metric.of(record)
            file = records.path_of(study, run, seed).relative_to(study)
            cells[seed] = _link(base / file, words.decimals(value, value))
        rows.append((run, *cells.values()))
    table = tables.plain(f"{metric.name}, by seed", ("run", *map(str, seeds)), rows)
    parts.append(tag("details", tag("summary", "Runs by seed"), table))
    return tag("article", parts, id=f"claim-{claim.id}")


def curves(found: Records, study: pathlib.Path, base: pathlib.Path) -> list[Element]:
    """Returns the learning curves of the reports' figures."""
    drawn = []
    for file, (title, of_figure) in figures.curve_charts(found).items():
        link = tag("span", _link(base / "figures" / file, "as PNG"))
        note = link if (study / "figures" / file).exists() else ""
        titled = [dataclasses.replace(c, title=f"{title}, {c.y_label}") for c in of_figure]
        drawn += [(chart, note) for chart in titled]
    if not drawn:
        return []
    charts, notes = zip(*drawn, strict=True)
    note = "Dashed: training; solid: test. Lines are means over the seeds, bands ± one standard"
    note += " deviation."
    return [
        tag("p", note, class_="note"),
        tag("div", map(svg.draw, share_axes(charts), notes), class_="charts"),
    ]


def weights(found: Records) -> list[Element]:
    """Returns the distributions of all weights with L1 and with L2."""
    chart = figures.l1_l2_chart(found)
    note = "Lines are means over the seeds, bands go from the smallest to the largest share."
    return [tag("div", svg.draw(chart, note), class_="charts")] if chart else []


def gates(found: Records) -> list[Element]:
    """Returns the mean gates by class of the gated nets, for the first seed of each."""
    parts = [
        tag("div", tag("h3", run), gate_table(heatmap))
        for run, maps in figures.gate_heatmaps(found).items()
        for heatmap in maps
    ]
    return [tag("div", parts, class_="side")] if parts else []


def runs(found: Records) -> list[Element]:
    """Returns the table of the runs."""
    head, *rows = words.run_rows(found)
    missing = words.not_yet(run for run in RUNS if not found[run]).strip()
    return [tables.plain("Mean ± standard deviation over n seeds", head, rows), tag("p", missing)]
