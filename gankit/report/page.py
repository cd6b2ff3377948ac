"""HTML pages about runs, with charts, sample grids, metrics, warnings and recipes. Each page is a single file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from gankit.formatting import brief, describe_best, duration, megabytes, plural
from gankit.plugin.slots import PLAYERS
from gankit.recipe.diff import differing_keys, flattened, format_value
from gankit.report import chart
from gankit.report.chart import Chart, Line, finite
from gankit.report.comparison import (
    NOTHING,
    compare_runs,
    describe_machine,
    differing_plugins,
    format_ending,
    format_warning,
    merge_warnings,
    metric_headings,
)
from gankit.report.explanation import explanation_pictures, explanation_tables, read_explanation
from gankit.report.image_strips import image_strips
from gankit.report.run_record import Metric, Points, RunRecord, read_run
from gankit.report.sample_files import SampleFile, page_files
from gankit.report.table import Table
from gankit.storage.atomic_io import write_text
from gankit.storage.run_dir import RunDir

if TYPE_CHECKING:
    from jinja2 import Environment

SEVERITY = {
    "finished": "good",
    "running": "good",
    "interrupted": "warning",
    "cut short": "warning",
    "rolled back": "warning",
    "stopped": "error",
    "failed": "error",
}
"""Severity of each state of a run. The severity determines the colour of the run's status on the page."""

NORM_NOTE = "All parameters of a player together, before clipping."

SAME_Z_NOTES = {
    True: "All images show the same z, of the same class, in the same place.",
    False: "The runs draw from different z (other seeds, latent distributions or grids): compare whole images only.",
    None: "It is not recorded whether the images show the same z.",
}


def write_report_of(directory: RunDir, tell: Callable[[str], None]) -> None:
    """Write the HTML report of a run that has ended. If this fails, call `tell` with a message and raise no error.

    A failure to write the report must not make the run fail, because the training is complete.
    """
    try:
        write_report(directory)
    except Exception as error:
        reason = " ".join(str(error).split())
        tell(f"{directory.report_file}: not written: {reason}; `gankit report {directory.path}` tries again")


def write_report(directory: RunDir) -> None:
    """Write the HTML report of a run to `report.html` in the run directory."""
    write_text(directory.report_file, page([read_run(directory.path)]))


def page(runs: Sequence[RunRecord], version: str = "") -> str:
    """Return the HTML page about one run or several runs. Text from run directories is HTML-escaped.

    `version` identifies the state of the run's files on the page of `gankit watch`. Such a page updates itself.
    """
    script, style = _asset("page.js") + (_asset("live.js") if version else ""), _asset("page.css")
    # The content security policy of the page allows only the script with this digest. It blocks all network requests,
    # except those of a page with a version to the server of that page.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    content = _one_run(runs[0]) if len(runs) == 1 else _several_runs(runs)
    template = templates().get_template("page.html.jinja")
    return template.render(content, script=script, style=style, digest=digest, single=len(runs) == 1, version=version)


@cache
def templates() -> Environment:
    """Return the jinja2 environment that loads the templates of the page."""
    # Import jinja2 here, because only HTML pages need it, and a global import would delay every command.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        name: getattr(chart, name) for name in ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM")
    }
    environment.filters["brief"] = brief
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Section:
    """Section of the page: a title, charts, files and tables. The page omits an empty section."""

    title: str
    charts: list[Chart]
    tables: list[Table] = field(default_factory=list)
    files: list[SampleFile] = field(default_factory=list)


def _one_run(run: RunRecord) -> dict[str, Any]:
    """Return the variables of the jinja2 template for the page of one run."""
    headings = metric_headings(list(run.metrics))
    losses: dict[str, dict[str, Points]] = {}
    for (player, term), points in run.losses.items():
        losses.setdefault(player, {})[term] = points
    return {
        "title": run.name,
        "path": run.path,
        "statuses": [_status(run)],
        "facts": _facts(run, headings),
        "images": _images([run], [run.name]),
        "sections": [
            _metrics(run, headings),
            Section("Losses", [_chart(p, curves, "Each term before its weight.") for p, curves in losses.items()]),
            Section("Gradient norms", _gradient_norms(run)),
            Section("Values", [_chart(name, {name: points}) for name, points in run.plugin_values.items()]),
            Section("Learning rates", [_chart("learning rate", run.learning_rates)] if run.learning_rates else []),
            *_explanation(RunDir(run.path).explanation),
        ],
        "recipe": tomli_w.dumps(run.recipe),
        "environments": _environments([run], [run.name]),
    }


def _explanation(folder: Path) -> list[Section]:
    """Return the section about the explanation in a folder. The list is empty if there is none."""
    record = read_explanation(folder)
    if record is None:
        return []
    title = f"Explanation at iteration {record['iteration']:,}"
    return [Section(title, [], explanation_tables(record), explanation_pictures(folder))]


def _several_runs(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Return the variables of the jinja2 template for the page of several runs."""
    comparison = compare_runs(runs)
    names = [name for group in comparison.groups for name in group.run_names]
    ordered = [run for group in comparison.groups for run in group.runs]
    # Runs that differ only in the seed are in the same group and have the same line style.
    styles = [style for style, group in enumerate(comparison.groups) for _ in group.runs]
    lines = list(zip(ordered, names, styles, strict=True))
    headings = metric_headings([metric for run in runs for metric in run.metrics])
    return {
        "title": f"{len(runs)} runs",
        "statuses": [_status(run, name) for run, name, _ in lines if severity(run) != "good"],
        "comparison": Table(comparison.headings, comparison.rows),
        "notes": comparison.notes,
        "protocols": _protocols(headings),
        "sections": [
            Section("Metrics", _metric_charts(lines, headings)),
            Section("Losses", _loss_charts(lines)),
            Section("Gradient norms", _gradient_norm_charts(lines)),
        ],
        "images": _images(ordered, names),
        "differences": _differences(ordered, names),
        "environments": _environments(ordered, names),
    }


def severity(run: RunRecord) -> str:
    """Return the severity of a run: `good`, `warning` or `error`. A run with warnings or rollbacks is never `good`."""
    # An older version of gankit may have written a state that is not in SEVERITY.
    ended = SEVERITY.get(run.ending.state, "error")
    return "warning" if ended == "good" and (run.warnings or run.rollbacks) else ended


def _status(run: RunRecord, name: str = "") -> dict[str, Any]:
    """Return the status of a run as variables of the jinja2 template: severity, text and warnings.

    `name` is the name of the run on a page with several runs. If `name` is given, the text starts with this name,
    and the list of warnings is collapsed.
    """
    warnings = [*run.rollbacks, *(format_warning(warning) for warning in merge_warnings(run))]
    warnings += [f"about the recipe: {sentence}" for sentence in run.recipe_warnings]
    text = f"{name}: {format_ending(run)}" if name else format_ending(run)
    return {"severity": severity(run), "text": text, "warnings": warnings, "open": not name}


def _facts(run: RunRecord, headings: Mapping[Metric, str]) -> dict[str, str]:
    """Return facts about a run: newest metrics, time, numbers of parameters, memory and others.

    The keys are the names of the facts, and the values are texts. Facts that are not recorded are left out.
    """
    newest = [f"{heading} {brief(run.metrics[metric][-1][1])}" for metric, heading in headings.items()]
    facts = {
        "newest metrics": ", ".join(newest),
        "best.safetensors": describe_best(run.best) if run.best is not None else "",
        "iterations": f"{run.ending.iteration:,} of {run.recipe.get('train', {}).get('iterations', 0):,}",
        "time": duration(run.seconds) if run.seconds else "",
        "images/s": f"{run.images_per_second:.0f}" if run.images_per_second else "",
        "parameters of G": _format(run.parameters("generator"), "{:,}".format),
        "parameters of D": _format(run.parameters("discriminator"), "{:,}".format),
        "memory of the process": _format(run.peak_memory("process"), megabytes),
        "memory on the GPU": _format(run.peak_memory("gpu"), megabytes),
        "seed": str(run.seed),
        "machine": describe_machine(run),
    }
    return {name: value for name, value in facts.items() if value}


def _format(number: int | None, text: Callable[[int], str]) -> str:
    return "" if number is None else text(number)


def _chart(title: str, curves: Mapping[str, Points], note: str = "") -> Chart:
    """Return a chart with a line for each curve, in different styles. `curves` maps names of curves to points."""
    return Chart(title, [Line(name, points, style) for style, (name, points) in enumerate(curves.items())], note)


def _metrics(run: RunRecord, headings: Mapping[Metric, str]) -> Section:
    """Return the section "Metrics" of a run.

    The section contains a chart of each metric, a table of all values, and a table of the facts that affect each
    metric. Metrics with a single value have no chart.
    """
    charts = _metric_charts([(run, run.name, 0)], headings)
    values = {metric: dict(points) for metric, points in run.metrics.items()}
    rows = [
        [str(i), *(brief(values[metric][i]) if i in values[metric] else NOTHING for metric in headings)]
        for i in sorted({iteration for points in values.values() for iteration in points})
    ]
    table = Table(["iteration", *headings.values()], rows, "All values", open=not charts)
    return Section("Metrics", charts, [table, *_protocols(headings)] if rows else [])


def _protocols(headings: Mapping[Metric, str]) -> list[Table]:
    """Return a list with one table: the facts that affect each metric. The list is empty if there are no metrics."""
    rows = [
        [heading, "\n".join(f"{key} {value}" for key, value in metric.protocol) or NOTHING]
        for metric, heading in headings.items()
    ]
    return [Table(["metric", "protocol"], rows, "Protocols")] if rows else []


def _metric_charts(runs: Sequence[tuple[RunRecord, str, int]], headings: Mapping[Metric, str]) -> list[Chart]:
    """Return a chart for each metric that has several values in at least one run.

    `runs` contains a tuple (run, name, line style) for each run.
    """
    return [
        Chart(heading, [Line(name, run.metrics[m], style) for run, name, style in runs if m in run.metrics])
        for m, heading in headings.items()
        if any(len(finite(run.metrics.get(m, []))) > 1 for run, _, _ in runs)
    ]


def _loss_charts(runs: Sequence[tuple[RunRecord, str, int]]) -> list[Chart]:
    """Return a chart for each loss term of each player. Runs with different loss plugins have separate charts."""
    lines: dict[tuple[str, str, str], list[Line]] = {}
    for run, name, style in runs:
        loss = format_value(flattened(run.recipe).get("loss.use", ""))
        for (player, term), points in run.losses.items():
            lines.setdefault((player, term, loss), []).append(Line(name, points, style))
    several = len({loss for _, _, loss in lines}) > 1
    return [
        Chart(f"{player}: {term}" + (f" ({loss})" if several else ""), own)
        for (player, term, loss), own in sorted(lines.items())
    ]


def _gradient_norms(run: RunRecord) -> list[Chart]:
    """Return one chart with the gradient norms of both players, or an empty list if the log has no norms."""
    return [_chart("gradient norm", run.gradient_norms, NORM_NOTE)] if run.gradient_norms else []


def _gradient_norm_charts(runs: Sequence[tuple[RunRecord, str, int]]) -> list[Chart]:
    """Return a chart for each player, with the gradient norms of all runs whose logs contain them."""
    return [
        Chart(player, lines, NORM_NOTE)
        for player in PLAYERS
        if (lines := [Line(name, r.gradient_norms[player], s) for r, name, s in runs if player in r.gradient_norms])
    ]


def _images(runs: Sequence[RunRecord], names: list[str]) -> dict[str, Any]:
    """Return the variables of the jinja2 template for the sample grids: encoded grids, files, names of runs, notes."""
    strips = image_strips(runs)
    folders = [
        {image.iteration: run.sample_files[image.iteration] for image in own if image.iteration in run.sample_files}
        for run, own in zip(runs, strips.images, strict=True)
    ]
    media = page_files(folders)
    notes = [f"{SAME_Z_NOTES[strips.same_z]} The iteration of each image is under it."] if len(runs) > 1 else []
    if strips.damaged:
        notes.append(f"Left out because the file is damaged: {plural(len(strips.damaged), 'image')}.")
    if strips.num_other_z:
        notes.append(f"Left out because they show other z than the newest: {plural(strips.num_other_z, 'image')}.")
    if media.only_newest:
        notes.append("Files of samples are shown only for the newest sample grid, because of their size.")
    if media.num_too_large:
        notes.append(f"Left out because of their size: {plural(media.num_too_large, 'file')} of samples.")
    return {"strips": strips, "files": media.files, "names": names, "notes": notes}


def _differences(runs: Sequence[RunRecord], names: Sequence[str]) -> Table | None:
    """Return a table of the settings and the plugin code that differ between runs, or None if nothing differs."""
    flats = [flattened(run.recipe) for run in runs]
    orders = [", ".join(run.recipe.get("tricks", {})) for run in runs]
    rows = [
        [
            key.removesuffix(".use"),
            *(orders if key == "tricks" else [format_value(flat[key]) if key in flat else NOTHING for flat in flats]),
        ]
        for key in differing_keys([run.recipe for run in runs])
    ]
    rows += [
        [f"{place}: {use}", *(run.code.get((place, use), NOTHING) for run in runs)]
        for place, use in differing_plugins(runs)
    ]
    return Table(["setting", *names], rows) if rows else None


def _environments(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Table]:
    """Return a table for each run, with the versions, device and other facts that the run's last process recorded."""
    tables = []
    for run, name in zip(runs, names, strict=True):
        resumed = f", the last of {len(run.processes)} processes" if len(run.processes) > 1 else ""
        facts = flattened({k: v for k, v in run.environment.items() if k != "warnings"})
        rows = [[key, " ".join(map(str, v)) if isinstance(v, list) else str(v)] for key, v in facts.items()]
        tables.append(Table(["fact", "value"], rows, name + resumed))
    return tables
