"""Runs as one page: a file that needs no network, with curves, grids, measures, the recipe, and what was advised."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files

import tomli_w

from gankit.formatting import brief, plural, duration, megabytes
from gankit.recipe.diff import differing, flattened, in_words
from gankit.report.chart import LOGARITHMIC, STYLES, Line, axes, finite, line_chart, points_of_each, thinned
from gankit.report.comparison import (
    NOTHING,
    Group,
    format_warning,
    compared,
    format_ending,
    grouped,
    heads_of,
    machine_in_words,
    other_code,
    said,
)
from gankit.report.image_strips import Strips, strips_of
from gankit.report.run_record import Measure, RunRecord, read_run
from gankit.storage.atomic_io import write_text
from gankit.storage.run_dir import RunDir

GRADE = {
    "finished": "good",
    "running": "good",
    "interrupted": "mind",
    "cut short": "mind",
    "stopped": "bad",
    "failed": "bad",
}
"""How an ending is coloured; the words say the same."""

SIGN = {"good": "✓", "mind": "!", "bad": "✕"}


def write_report_of(directory: RunDir, tell: Callable[[str], None]) -> None:
    """Write the report of a run that has ended. A failure becomes a sentence, because the run itself is complete.

    Args:
        directory: the run directory.
        tell: receives the sentence.
    """
    try:
        write_report(directory)
    except Exception as error:
        reason = " ".join(str(error).split())
        tell(f"report.html is not written: {reason}; `gankit report {directory.path}` tries again")


def write_report(directory: RunDir) -> None:
    """A run's page, in its directory.

    Raises GankitError when the disk is full.
    """
    write_text(directory.report_file, page([read_run(directory.path)]))


def page(runs: Sequence[RunRecord]) -> str:
    """The page of one run, or of several side by side. Whatever runs say of themselves is escaped."""
    charts = Charts()
    body = one_run(runs[0], charts) if len(runs) == 1 else several_runs(runs, charts)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    script = files("gankit.report").joinpath("page.js").read_text(encoding="utf-8")
    style = files("gankit.report").joinpath("page.css").read_text(encoding="utf-8")
    # Browsers fetch nothing for this page and run no script but this one, whatever a recipe has brought in.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>gankit: {escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
            *body,
            "</main>",
            f'<script type="application/json" id="numbers">{charts.numbers()}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


class Charts:
    """The charts of a page, and the numbers behind their lines."""

    def __init__(self) -> None:
        self.drawn: list[Sequence[Line]] = []

    def figure(self, title: str, lines: Sequence[Line], note: str = "") -> str:
        """A chart with a table of its lines, which shows the newest values, or those beneath the cursor."""
        self.drawn.append(lines)
        _, values = axes(lines)
        note = f"{note} {LOGARITHMIC}".strip() if values.logarithmic else note
        rows = [
            f'<tr><td><svg class="swatch" viewBox="0 0 34 12" aria-hidden="true"><path class="line '
            f's{line.style % STYLES}" d="M0,6 L34,6"/></svg></td><th scope="row">{escape(line.name)}</th>'
            f'<td data-line="">{brief(line.points[-1][1])}</td></tr>'
            for line in lines
        ]
        return (
            f'<figure data-chart="{len(self.drawn) - 1}"><h3>{escape(title)}</h3>\n{line_chart(title, lines)}\n'
            f'<table class="legend"><thead><tr><td></td><th scope="col">line</th>'
            f'<th scope="col" data-when="">newest</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
            + (f"<figcaption>{escape(note)}</figcaption>" if note else "")
            + "</figure>"
        )

    def numbers(self) -> str:
        """The points of every line as JSON, in which nothing ends the element that holds it."""
        data = {
            str(number): [
                {"x": [x for x, _ in points], "y": [float(f"{y:.5g}") if math.isfinite(y) else None for _, y in points]}
                for points in (thinned(line.points, points_of_each(len(lines))) for line in lines)
            ]
            for number, lines in enumerate(self.drawn)
        }
        return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def one_run(run: RunRecord, charts: Charts) -> list[str]:
    """How it ended and what was advised, beside its pictures; then all the rest."""
    return [
        f'<h1>{escape(run.name)}</h1>\n<p class="path">{escape(str(run.path))}</p>',
        f'<div class="first"><div>{told(run)}{facts(run)}</div>',
        f"<div>{pictures([run], [run.name])}</div></div>",
        *measured(run, charts),
        *section("Losses", charts_of_losses(run, charts)),
        *section("Learning rates", [rates(run, charts)] if run.rates else []),
        "<h2>Recipe</h2>",
        "<details open><summary>Every default written out</summary>",
        f"<pre>{escape(tomli_w.dumps(run.recipe))}</pre></details>",
        *environments([run], [run.name]),
    ]


def several_runs(runs: Sequence[RunRecord], charts: Charts) -> list[str]:
    """The table first, and what is wrong with any of them; then curves over each other and grids side by side."""
    groups, table = grouped(runs), compared(runs)
    names = names_of(groups)
    ordered = [run for group in groups for run in group.runs]
    amiss = [told(run, name) for run, name in zip(ordered, names, strict=True) if grade(run) != "good"]
    return [
        f"<h1>{len(runs)} runs</h1>",
        *amiss,
        "<h2>Side by side</h2>",
        table_of(table.heads, table.rows),
        *(f'<p class="note">{escape(note)}</p>' for note in table.notes),
        *protocols(dict.fromkeys(measure for run in runs for measure in run.metrics)),
        *section("Measures", measures_over_each_other(groups, charts)),
        *section("Losses", losses_over_each_other(groups, charts)),
        "<h2>Pictures</h2>",
        pictures(ordered, names),
        "<h2>What differs between the runs</h2>",
        differences(ordered, names),
        *environments(ordered, names),
    ]


def names_of(groups: Sequence[Group]) -> list[str]:
    """A name for each run of each group."""
    return [
        group.name if len(group.runs) == 1 else f"{group.name}, seed {run.seed}"
        for group in groups
        for run in group.runs
    ]


def grade(run: RunRecord) -> str:
    """`good`, `mind` or `bad`: what plugins had to say of a run makes it no better than `mind`."""
    ended = GRADE[run.ending.state]
    return "mind" if ended == "good" and run.warnings else ended


def told(run: RunRecord, name: str = "") -> str:
    """How a run ended, and what was advised, last first."""
    advice = [format_warning(one) for one in said(run)] + [f"of the recipe: {one}" for one in run.recipe_warnings]
    graded = grade(run)
    of = f"{escape(name)}: " if name else ""
    sentence = escape(format_ending(run))
    words = f'<p><strong><span aria-hidden="true">{SIGN[graded]}</span> {of}{sentence}</strong></p>'
    items = "".join(f"<li>{escape(one)}</li>" for one in advice)
    # Beside other runs it is folded: the table is what everybody has come for.
    said_so = f"<details{'' if name else ' open'}><summary>What plugins advised</summary><ul>{items}</ul></details>"
    return f'<section class="told {graded}" aria-label="How it ended">{words}{said_so if items else ""}</section>'


def facts(run: RunRecord) -> str:
    """A run's size and speed, as far as they are on record."""
    known = {
        "newest measures": ", ".join(
            f"{head} {brief(run.metrics[measure][-1][1])}" for measure, head in heads_of(list(run.metrics)).items()
        ),
        "iterations": f"{run.ending.iteration:,} of {run.recipe.get('train', {}).get('iterations', 0):,}",
        "time": duration(run.seconds) if run.seconds else "",
        "images/s": f"{run.images_per_second:.0f}" if run.images_per_second else "",
        "parameters of G": _count(run.parameters("generator")),
        "parameters of D": _count(run.parameters("discriminator")),
        "memory of the process": _memory(run.peak_memory("process")),
        "memory on the GPU": _memory(run.peak_memory("gpu")),
        "seed": str(run.seed),
        "on": machine_in_words(run),
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in known.items() if value)
    return f'<dl class="facts">{rows}</dl>'


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _memory(number: int | None) -> str:
    return "" if number is None else megabytes(number)


def section(title: str, figures: Sequence[str]) -> list[str]:
    """A heading and charts beneath it; nothing where there are none."""
    return [f'<h2>{title}</h2>\n<div class="charts">', *figures, "</div>"] if figures else []


def charts_of_losses(run: RunRecord, charts: Charts) -> list[str]:
    players = dict.fromkeys(player for player, _ in run.losses)
    return [
        charts.figure(
            player,
            [
                Line(term, points, style)
                for style, ((_, term), points) in enumerate((k, v) for k, v in run.losses.items() if k[0] == player)
            ],
            "Each term before its weight.",
        )
        for player in players
    ]


def rates(run: RunRecord, charts: Charts) -> str:
    lines = [Line(player, points, style) for style, (player, points) in enumerate(run.rates.items())]
    return charts.figure("learning rate", lines)


def measured(run: RunRecord, charts: Charts) -> list[str]:
    """A chart for each measure that was taken more than once, and all numbers in a table."""
    if not run.metrics:
        return []
    heads = heads_of(list(run.metrics))
    figures = [
        charts.figure(head, [Line(run.name, run.metrics[measure], 0)])
        for measure, head in heads.items()
        if len(finite(run.metrics[measure])) > 1
    ]
    taken = {measure: dict(points) for measure, points in run.metrics.items()}
    iterations = sorted({iteration for of in taken.values() for iteration in of})
    rows = [
        [str(i), *(brief(taken[measure][i]) if i in taken[measure] else NOTHING for measure in heads)]
        for i in iterations
    ]
    table = table_of(["iteration", *heads.values()], rows)
    folded = f"<details{'' if figures else ' open'}><summary>All numbers</summary>{table}</details>"
    return [*(section("Measures", figures) or ["<h2>Measures</h2>"]), folded, *protocols(run.metrics)]


def protocols(metrics: Iterable[Measure]) -> list[str]:
    """How each measure was taken."""
    rows = [
        [head, "\n".join(f"{key} {value}" for key, value in measure.protocol) or NOTHING]
        for measure, head in heads_of(list(metrics)).items()
    ]
    table = table_of(["metric", "how it was taken"], rows)
    return [f"<details><summary>How they were measured</summary>{table}</details>"] if rows else []


def measures_over_each_other(groups: Sequence[Group], charts: Charts) -> list[str]:
    """A chart for each measure that some run took more than once; of others, the table has the numbers."""
    names = names_of(groups)
    styles = [style for style, group in enumerate(groups) for _ in group.runs]
    runs = [run for group in groups for run in group.runs]
    metrics = {measure: None for run in runs for measure, points in run.metrics.items() if len(finite(points)) > 1}
    return [
        charts.figure(
            head,
            [
                Line(name, run.metrics[measure], style)
                for run, name, style in zip(runs, names, styles, strict=True)
                if measure in run.metrics
            ],
        )
        for measure, head in heads_of(list(metrics)).items()
    ]


def losses_over_each_other(groups: Sequence[Group], charts: Charts) -> list[str]:
    """A chart for each term. Terms of one name but of different losses are different terms."""
    names = names_of(groups)
    found: dict[tuple[str, str, str], list[Line]] = {}
    runs = [(style, run) for style, group in enumerate(groups) for run in group.runs]
    for name, (style, run) in zip(names, runs, strict=True):
        loss = in_words(flattened(run.recipe).get("loss.use", ""))
        for (player, term), points in run.losses.items():
            found.setdefault((player, term, loss), []).append(Line(name, points, style))
    several = len({loss for _, _, loss in found}) > 1
    return [
        charts.figure(f"{player}: {term}" + (f" ({loss})" if several else ""), lines)
        for (player, term, loss), lines in sorted(found.items())
    ]


def pictures(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The grids of each run, through which a slider goes; on paper the one that it stands at, without scripts all."""
    strips = strips_of(runs)
    if not strips.moments:
        return '<p class="note">There are no pictures yet.</p>'
    shown = "".join(
        f"<div>{f'<h3>{escape(name)}</h3>' if len(runs) > 1 else ''}{strip(strips, index, name)}</div>"
        for index, name in enumerate(names)
    )
    last = len(strips.moments) - 1
    slider = (
        f'<div class="slider" hidden><label for="moment">Pictures of</label><input type="range" id="moment" min="0" '
        f'max="{last}" value="{last}"><output for="moment">iteration {strips.moments[-1]}</output></div>'
    )
    notes = [of_which_z(strips.same_z)] if len(runs) > 1 else []
    if strips.damaged:
        notes.append(f"{plural(len(strips.damaged), 'picture')} cannot be read and left out.")
    if strips.others:
        notes.append(f"{plural(strips.others, 'picture')} of other z than the newest left out.")
    return (
        f'<section data-moments="{strips.moments}" aria-label="Pictures">{slider}'
        f'<div class="strips{" one" if len(runs) == 1 else ""}">{shown}</div>'
        + "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
        + "</section>"
    )


def strip(strips: Strips, index: int, name: str) -> str:
    figures = [
        f'<figure data-iteration="{p.iteration}"><img src="{p.uri}" width="{p.width}" height="{p.height}" '
        f'alt="Samples of {escape(name)} at iteration {p.iteration}"><figcaption>iteration {p.iteration}</figcaption>'
        "</figure>"
        for p in strips.pictures[index]
    ] or ['<p class="note">no picture</p>']
    return f'<div class="strip">{"".join(figures)}</div>'


def of_which_z(same: bool | None) -> str:
    """Whether pictures can be compared one by one."""
    if same is None:
        return "Whether the pictures are of the same z is not on record. What stands under each is its own iteration."
    if same:
        return "In the same place the same z, of the same class. What stands under each is its own iteration."
    return (
        "The runs draw from different z (their seeds, priors or grids differ): compare the whole, not what stands in "
        "the same place. What stands under each is its own iteration."
    )


def differences(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The keys that the recipes do not have in common, and plugins that are not of the same code, a column for each
    run."""
    flats = [flattened(run.recipe) for run in runs]
    keys = differing([run.recipe for run in runs])
    orders = [", ".join(run.recipe.get("tricks", {})) for run in runs]
    rows = [
        [
            key.removesuffix(".use"),
            *(orders if key == "tricks" else [in_words(flat[key]) if key in flat else NOTHING for flat in flats]),
        ]
        for key in keys
    ]
    rows += [
        [f"{place}: {use}", *(run.code.get((place, use), NOTHING) for run in runs)] for place, use in other_code(runs)
    ]
    if not rows:
        return "<p>Nothing: the recipes are the same.</p>"
    return table_of(["setting", *names], rows)


def environments(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    """What each run was played on."""
    folded = []
    for run, name in zip(runs, names, strict=True):
        times = f", the last of {len(run.processes)} processes" if len(run.processes) > 1 else ""
        known = flattened({k: v for k, v in run.environment.items() if k != "warning"})
        rows = [[key, " ".join(map(str, v)) if isinstance(v, list) else str(v)] for key, v in known.items()]
        folded.append(
            f"<details><summary>{escape(name + times)}</summary>{table_of(['fact', 'value'], rows)}</details>"
        )
    return ["<h2>Environment</h2>", *folded]


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names its rows; too wide a one is scrolled by itself."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(heads[0])}"><table class="wide">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
