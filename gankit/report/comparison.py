"""Comparison of runs in one table. A metric has several columns if it was computed with different settings."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from gankit.formatting import brief, duration, megabytes, plural
from gankit.recipe.diff import distinct_labels, training_settings
from gankit.report.run_record import Metric, RunRecord

NOTHING = "-"  # text of a table cell whose value is not recorded


@dataclass(frozen=True)
class Group:
    """Group of runs with the same training settings and plugin code, but different seeds."""

    name: str
    runs: list[RunRecord]

    @property
    def label(self) -> str:
        """Name of the group, followed by the seeds if the group has several runs: `base (seeds 0, 1)`."""
        if len(self.runs) == 1:
            return self.name
        return f"{self.name} (seeds {', '.join(str(seed) for seed in sorted(run.seed for run in self.runs))})"

    @property
    def run_names(self) -> list[str]:
        """Names of the runs: the group's name, followed by the seed if the group has several runs: `base, seed 0`."""
        return [self.name if len(self.runs) == 1 else f"{self.name}, seed {run.seed}" for run in self.runs]


@dataclass(frozen=True)
class RunComparison:
    """Table that compares groups of runs, with one row for each group, and notes for the reader of the table."""

    groups: list[Group]
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]


def group_runs(runs: Sequence[RunRecord]) -> list[Group]:
    """Group the runs that have the same training settings and the same plugin code, but different seeds.

    A group has at most one run for each seed, because a second run with the same seed is not an independent sample.
    """
    groups: list[tuple[object, list[RunRecord]]] = []
    for run in runs:
        key = training_settings(run.recipe), run.code
        for other, members in groups:
            if other == key and run.seed not in [member.seed for member in members]:
                members.append(run)
                break
        else:
            groups.append((key, [run]))
    first = [members[0] for _, members in groups]
    # If any group has several runs, leave the seed out of all names, because such a group has several seeds.
    single = all(len(members) == 1 for _, members in groups)
    recipes = [run.recipe if single else {k: v for k, v in run.recipe.items() if k != "seed"} for run in first]
    names = [str(run.path) if len(members) == 1 else run.name for run, (_, members) in zip(first, groups, strict=True)]
    labels = distinct_labels(recipes, names)
    return distinct_names([Group(label, members) for label, (_, members) in zip(labels, groups, strict=True)])


def distinct_names(groups: Sequence[Group]) -> list[Group]:
    """Make the names of the groups unique.

    If several groups have the same name, append the code version of the first plugin whose code differs between these
    groups. If names are still equal, append the folder of each group's runs. If names are equal even then, append the
    paths of the runs.
    """
    named = list(groups)
    describe: Callable[[Group, Sequence[Group]], str]
    for describe in (_describe_code, _describe_folder, lambda group, _: " and ".join(str(r.path) for r in group.runs)):
        extended = []
        for group in named:
            namesakes = [other for other in named if other.name == group.name]
            several = len({describe(other, namesakes) for other in namesakes}) > 1
            name = f"{group.name}, {describe(group, namesakes)}" if several else group.name
            extended.append(replace(group, name=name))
        named = extended
    return named


def _describe_code(group: Group, namesakes: Sequence[Group]) -> str:
    """Return a short text about the plugin code of a group. The text distinguishes groups with the same name.

    `namesakes` are all groups with this name. The text contains the recipe key of the first plugin whose code differs
    between these groups, and the version of this code in `group`: `loss of source 3f2a91c0`.
    """
    plugins = differing_plugins([run for other in namesakes for run in other.runs])
    return " ".join(f"{plugin[0]} of {group.runs[0].code.get(plugin, 'unknown code')}" for plugin in plugins[:1])


def _describe_folder(group: Group, namesakes: Sequence[Group]) -> str:
    """Return a text with the folder of a group's runs, such as `in old`.

    The text distinguishes groups with the same name. `namesakes` are all groups with this name. The folder is relative
    to the common folder of these groups.
    """

    def common(groups: Sequence[Group]) -> str:
        return os.path.commonpath([os.path.abspath(run.path.parent) for other in groups for run in other.runs])

    every, own = common(namesakes), common([group])
    return f"in {os.path.basename(every) if own == every else os.path.relpath(own, every)}"


def differing_plugins(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return a (recipe key, plugin name) pair for each plugin whose code is not the same in all runs that use it."""
    plugins = dict.fromkeys(plugin for run in runs for plugin in run.code)
    return [plugin for plugin in plugins if len({run.code[plugin] for run in runs if plugin in run.code}) > 1]


def compare_runs(runs: Sequence[RunRecord]) -> RunComparison:
    """Compare runs in a table with one row for each group of runs. Columns without any value are left out."""
    groups = group_runs(runs)
    headings = metric_headings([metric for run in runs for metric in run.metrics])

    def spread(value: Callable[[RunRecord], float | None], text: Callable[[float], str]) -> Callable[[Group], str]:
        return lambda group: format_spread([value(run) for run in group.runs], text)

    def newest(metric: Metric) -> Callable[[Group], str]:
        iterations = _newest_iterations(runs, metric)
        return lambda group: format_newest(group.runs, metric, iterations)

    # Use a list, because in a dictionary a metric with the name `time` would replace the column `time`.
    columns: list[tuple[str, Callable[[Group], str]]] = [
        ("run", lambda group: group.label),
        ("state", lambda group: format_states(group.runs)),
        *((heading, newest(metric)) for metric, heading in headings.items()),
        ("time", spread(lambda run: run.seconds, duration)),
        ("images/s", spread(lambda run: run.images_per_second, "{:.0f}".format)),
        ("parameters of G", lambda group: format_counts([run.parameters("generator") for run in group.runs])),
        ("parameters of D", lambda group: format_counts([run.parameters("discriminator") for run in group.runs])),
        ("memory of the process", spread(lambda run: run.peak_memory("process"), megabytes)),
        ("memory on the GPU", spread(lambda run: run.peak_memory("gpu"), megabytes)),
    ]
    cells = [(heading, [cell(group) for group in groups]) for heading, cell in columns]
    shown = [(heading, column) for heading, column in cells if any(cell != NOTHING for cell in column)]
    rows = [list(row) for row in zip(*(column for _, column in shown), strict=True)]
    return RunComparison(groups, [heading for heading, _ in shown], rows, comparison_notes(runs, groups, headings))


def transpose(comparison: RunComparison) -> RunComparison:
    """Swap the rows and columns of the table, so that the table fits narrow terminals."""
    first, *others = zip(comparison.headings, *comparison.rows, strict=True)
    return replace(comparison, headings=list(first), rows=[list(other) for other in others])


def metric_headings(metrics: Sequence[Metric]) -> dict[Metric, str]:
    """Return a column heading for each metric, such as `fid`.

    If a metric was computed with different settings, each heading also contains the settings that differ, for example
    `fid (count 2000)`.
    """
    headings = {}
    for metric in dict.fromkeys(metrics):
        protocols = [dict(other.protocol) for other in metrics if other.name == metric.name]
        own = dict(metric.protocol)
        differing = [
            key for key in sorted({k for p in protocols for k in p}) if len({p.get(key) for p in protocols}) > 1
        ]
        facts = ", ".join(f"{key} {own[key]}" for key in differing if key in own)
        headings[metric] = metric.name if not differing else f"{metric.name} ({facts or 'otherwise'})"
    return headings


def comparison_notes(runs: Sequence[RunRecord], groups: Sequence[Group], headings: Mapping[Metric, str]) -> list[str]:
    """Return the notes for the reader of the table, for example that values of two columns cannot be compared."""
    notes = []
    if len(groups) > 2:
        notes.append("Each run is named by the settings that it does not share with most other runs.")
    if any(len(group.runs) > 1 for group in groups):
        notes.append("Several seeds: the mean, the lowest and highest value in brackets, and the number of values n.")
    if changed := differing_plugins(runs):
        places = ", ".join(dict.fromkeys(place for place, _ in changed))
        notes.append(f"The code differs between runs: {places}. Runs with different plugins are not repetitions.")
    for name in dict.fromkeys(metric.name for metric in headings):
        columns = sum(metric.name == name for metric in headings)
        if columns > 1:
            notes.append(
                f"{name} was computed with {columns} protocols and has a column for each: values of different columns "
                "cannot be compared."
            )
    if any(len(set(_newest_iterations(runs, metric))) > 1 for metric in headings):
        notes.append("The values are the newest of each run. The iteration is given where it differs.")
    notes += [note for group in groups for note in _missing_metrics(group, headings)]
    machines = list(dict.fromkeys(describe_machine(run) for run in runs))
    if len(machines) > 1:
        notes.append(f"Time, images/s and memory are from different machines: {'; '.join(machines)}.")
    return notes


def _missing_metrics(group: Group, headings: Mapping[Metric, str]) -> list[str]:
    """Return a note for each run that lacks a metric of other runs in the same group.

    If a run lacks a metric, the table shows the mean over the other seeds.
    """
    present = [metric for metric in headings if any(metric in run.metrics for run in group.runs)]
    missing = [(run, [headings[metric] for metric in present if metric not in run.metrics]) for run in group.runs]
    return [
        f"{group.label}: seed {run.seed} has no {', '.join(names)}, which other seeds have ({run.path})."
        for run, names in missing
        if names
    ]


def describe_machine(run: RunRecord) -> str:
    """Return the hardware and software of a run that affect its speed: `x86_64, 2 threads, fp32, torch 2.6.0`."""
    facts = run.environment
    threads = plural(facts["threads"], "thread") if "threads" in facts else ""
    version = f"torch {facts.get('torch', 'unknown')}"
    return ", ".join(filter(None, (facts.get("device_name"), threads, facts.get("precision"), version)))


def _newest_iterations(runs: Sequence[RunRecord], metric: Metric) -> list[int]:
    """Return the iteration at which each run last computed a metric. Runs without the metric are left out."""
    return [run.metrics[metric][-1][0] for run in runs if metric in run.metrics]


def format_newest(runs: Sequence[RunRecord], metric: Metric, iterations: Sequence[int]) -> str:
    """Return the table cell for a metric of a group of runs: the mean of the newest values, as in `7.5 (7 to 8), n 2`.

    `iterations` contains the iteration of the newest value for each run in the table. If these iterations differ, the
    cell also shows the iteration: `7.5 at 500`. If they differ within the group, the cell has one line for each of the
    group's iterations.
    """
    by_iteration: dict[int, list[float]] = {}
    for run in runs:
        if metric in run.metrics:
            iteration, value = run.metrics[metric][-1]
            by_iteration.setdefault(iteration, []).append(value)
    lines = [
        format_spread([*values, *[None] * (len(runs) - len(values))], brief)
        + (f" at {iteration}" if len(set(iterations)) > 1 else "")
        for iteration, values in sorted(by_iteration.items(), reverse=True)
    ]
    return "\n".join(lines) or NOTHING


def format_spread(values: Sequence[float | None], text: Callable[[float], str]) -> str:
    """Return the mean, range and number n of values as text: `7.5 (7 to 8), n 2`, or `8, n 2` if all values are equal.

    NaN and infinite values are excluded from the mean, and are counted separately: `8, n 1, 1 not finite`. None means
    that a run has no value. For a group of a single run, the text is only the value: `8`.
    """
    known = [value for value in values if value is not None]
    if len(values) == 1 and known:
        return text(known[0])
    finite = [value for value in known if math.isfinite(value)]
    parts = []
    if finite:
        low, high = text(min(finite)), text(max(finite))
        parts += [low if low == high else f"{text(fmean(finite))} ({low} to {high})", f"n {len(finite)}"]
    if len(finite) < len(known):
        parts.append(f"{len(known) - len(finite)} not finite")
    return ", ".join(parts) or NOTHING


def format_counts(counts: Sequence[int | None]) -> str:
    """Return the distinct numbers of parameters of the runs in a group as text.

    Usually, all runs have the same number of parameters, so the text contains one number: `1,234,567`.
    """
    return ", ".join(dict.fromkeys(f"{count:,}" for count in counts if count is not None)) or NOTHING


def format_states(runs: Sequence[RunRecord]) -> str:
    """Return the states and the last iterations of runs as text.

    The text for a single run is `finished at 450`. The text for several runs contains the number of runs in each state:
    `2 finished at 450, 1 failed at 300`.
    """
    states = [f"{run.ending.state} at {run.ending.iteration}" for run in runs]
    if len(runs) == 1:
        return states[0]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def format_ending(run: RunRecord) -> str:
    """Describe how a run ended. If the run was interrupted or killed, append the command that resumes it."""
    ending = run.ending
    command = f"`gankit resume {run.path}` continues it"
    match ending.state:
        case "finished":
            return f"finished: {plural(ending.iteration, 'iteration')}"
        case "stopped":
            return f"stopped at iteration {ending.iteration}: {ending.reason}"
        case "interrupted":
            return f"interrupted at iteration {ending.iteration}; {command}"
        case "rolled back":
            return f"rolled back at iteration {ending.iteration}: {ending.reason}; {command}"
        case "cut short":
            return f"cut short after iteration {ending.iteration}, with no reason recorded; {command}"
        case "running":
            return f"running, at iteration {ending.iteration} or later"
        case _:  # The state is `failed`, or a state that an older version of gankit wrote.
            # The message of a NonFiniteError starts with the iteration. Remove the iteration from the message, because
            # the returned text already contains it.
            reason = (ending.reason or "").removeprefix(f"iteration {ending.iteration}: ")
            return f"{ending.state} at iteration {ending.iteration}: {reason}"


@dataclass(frozen=True)
class RepeatedWarning:
    """Warning that a plugin logged during training, and all iterations at which the plugin logged this warning."""

    sentence: str  # text of the warning at the last iteration
    iterations: list[int]


def merge_warnings(run: RunRecord) -> list[RepeatedWarning]:
    """Return the warnings of a run, newest first. Warnings that differ only in numbers are merged into one."""
    merged: dict[str, RepeatedWarning] = {}
    for iteration, sentence in run.warnings:
        key = re.sub(r"[-+]?\d[\d.,e+-]*", "", sentence)
        earlier = merged.pop(key).iterations if key in merged else []
        merged[key] = RepeatedWarning(sentence, [*earlier, iteration])
    return list(reversed(merged.values()))


def format_warning(warning: RepeatedWarning) -> str:
    """Return a warning with its iterations: `iterations 10 to 40, 3 times: D's loss is near 0`."""
    first, last, times = warning.iterations[0], warning.iterations[-1], len(warning.iterations)
    when = f"iteration {last}" if times == 1 else f"iterations {first} to {last}, {times} times"
    return f"{when}: {warning.sentence}"
