"""Runs side by side in one table. Numbers that were taken in different ways never stand in one column."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from gankit.formatting import brief, plural, duration, megabytes
from gankit.recipe.diff import labels, learnt_from
from gankit.report.run_record import Measure, RunRecord

NOTHING = "-"
"""Stands where nothing is on record."""


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone."""

    name: str
    runs: list[RunRecord]

    @property
    def label(self) -> str:
        return self.name + seeds_in_words(self.runs)


@dataclass(frozen=True)
class Comparison:
    """A table of words, and the sentences that belong beneath it."""

    heads: list[str]
    rows: list[list[str]]
    notes: list[str]


def grouped(runs: Sequence[RunRecord]) -> list[Group]:
    """Runs that differ by their seed alone, in their recipe and in their plugins' code, together.

    A second run of a seed is no further seed: it stands apart.
    """
    groups: list[tuple[object, list[RunRecord]]] = []
    for run in runs:
        key = learnt_from(run.recipe), run.code
        for other, members in groups:
            if other == key and run.seed not in [member.seed for member in members]:
                members.append(run)
                break
        else:
            groups.append((key, [run]))
    first = [members[0] for _, members in groups]
    # Seeds tell groups apart only where all are single runs.
    single = all(len(members) == 1 for _, members in groups)
    recipes = [run.recipe if single else {k: v for k, v in run.recipe.items() if k != "seed"} for run in first]
    names = [str(run.path) if len(members) == 1 else run.name for run, (_, members) in zip(first, groups, strict=True)]
    return told_apart([Group(name, members) for name, (_, members) in zip(labels(recipes, names), groups, strict=True)])


def told_apart(groups: Sequence[Group]) -> list[Group]:
    """Groups no two of which have the same name: namesakes are told apart by the code of a plugin, by the folder they
    lie in, or else by all their paths."""
    apart = list(groups)
    for tell in (code_of, folder_of, paths_of):
        apart = [_further_named(group, [other for other in apart if other.name == group.name], tell) for group in apart]
    return apart


def _further_named(group: Group, namesakes: Sequence[Group], tell: Callable[[Group, Sequence[Group]], str]) -> Group:
    if len({tell(other, namesakes) for other in namesakes}) == 1:
        return group
    return replace(group, name=f"{group.name}, {tell(group, namesakes)}")


def code_of(group: Group, namesakes: Sequence[Group]) -> str:
    """`loss of source 3f2a91c0`: the first plugin that is of different code among namesakes."""
    plugins = other_code([run for other in namesakes for run in other.runs])
    return " ".join(f"{plugin[0]} of {group.runs[0].code.get(plugin, 'unknown code')}" for plugin in plugins[:1])


def folder_of(group: Group, namesakes: Sequence[Group]) -> str:
    """`in old`: the folder that holds a group's runs, as seen from the one that holds all namesakes."""

    def common(groups: Sequence[Group]) -> str:
        return os.path.commonpath([os.path.abspath(run.path.parent) for other in groups for run in other.runs])

    every, own = common(namesakes), common([group])
    return f"in {os.path.basename(every) if own == every else os.path.relpath(own, every)}"


def paths_of(group: Group, namesakes: Sequence[Group]) -> str:
    return " and ".join(str(run.path) for run in group.runs)


def other_code(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The plugins, by place and name, that were not of the same code in all runs that have them."""
    plugins = dict.fromkeys(plugin for run in runs for plugin in run.code)
    return [plugin for plugin in plugins if len({run.code[plugin] for run in runs if plugin in run.code}) > 1]


def seeds_in_words(members: Sequence[RunRecord]) -> str:
    if len(members) == 1:
        return ""
    return f" (seeds {', '.join(str(seed) for seed in sorted(member.seed for member in members))})"


def compared(runs: Sequence[RunRecord]) -> Comparison:
    """The table: a row for each group, what it differs in first."""
    groups = grouped(runs)
    metrics = list(dict.fromkeys(measure for run in runs for measure in run.metrics))
    # Pairs, and no dictionary: a measure may be called what another column is.
    columns: list[tuple[str, Callable[[Group], str]]] = [
        ("run", lambda group: group.label),
        ("state", lambda group: state_in_words(group.runs)),
        *((head, _newest_of(measure, _when(runs, measure))) for measure, head in heads_of(metrics).items()),
        ("time", lambda group: spread_in_words([run.seconds for run in group.runs], duration)),
        ("images/s", lambda group: spread_in_words([run.images_per_second for run in group.runs], "{:.0f}".format)),
        ("parameters of G", lambda group: counts_in_words([r.parameters("generator") for r in group.runs])),
        ("parameters of D", lambda group: counts_in_words([r.parameters("discriminator") for r in group.runs])),
        (
            "memory of the process",
            lambda group: spread_in_words([run.peak_memory("process") for run in group.runs], megabytes),
        ),
        ("memory on the GPU", lambda group: spread_in_words([run.peak_memory("gpu") for run in group.runs], megabytes)),
    ]
    cells = [(head, [column(group) for group in groups]) for head, column in columns]
    # Of what nobody has on record, there is no column.
    shown = [(head, column) for head, column in cells if any(cell != NOTHING for cell in column)]
    rows = [list(row) for row in zip(*(column for _, column in shown), strict=True)]
    return Comparison([head for head, _ in shown], rows, notes_on(runs, groups, metrics))


def transposed(comparison: Comparison) -> Comparison:
    """A column for each row: for terminals that are narrow."""
    first, *others = zip(comparison.heads, *comparison.rows, strict=True)
    return Comparison(list(first), [list(other) for other in others], comparison.notes)


def _newest_of(measure: Measure, when: Sequence[int]) -> Callable[[Group], str]:
    return lambda group: newest_in_words(group.runs, measure, when)


def heads_of(metrics: Sequence[Measure]) -> dict[Measure, str]:
    """What stands over the column of each measure: its name, and what of its protocol is not that of its namesakes."""
    heads = {}
    for measure in metrics:
        namesakes = [dict(other.protocol) for other in metrics if other.name == measure.name]
        own = dict(measure.protocol)
        differ = [key for key in sorted({k for p in namesakes for k in p}) if len({p.get(key) for p in namesakes}) > 1]
        told = ", ".join(f"{key} {own[key]}" for key in differ if key in own)
        heads[measure] = measure.name if not differ else f"{measure.name} ({told or 'otherwise'})"
    return heads


def notes_on(runs: Sequence[RunRecord], groups: Sequence[Group], metrics: Sequence[Measure]) -> list[str]:
    """What is to be known before numbers of the table are compared."""
    notes = []
    if len(groups) > 2:
        notes.append("A run is named by what its recipe does not have in common with most of the others.")
    if any(len(group.runs) > 1 for group in groups):
        notes.append("Of several seeds: the mean, in brackets the lowest and the highest, and n, how many there are.")
    if changed := other_code(runs):
        places = ", ".join(dict.fromkeys(place for place, _ in changed))
        notes.append(f"Not of the same code in all runs: {places}. Runs whose plugins differ are no repetitions.")
    for name in dict.fromkeys(measure.name for measure in metrics):
        columns = [head for measure, head in heads_of(metrics).items() if measure.name == name]
        if len(columns) > 1:
            notes.append(
                f"{name} was measured in {len(columns)} ways and stands in as many columns: numbers of different "
                "columns cannot be compared."
            )
    if any(len(set(_when(runs, measure))) > 1 for measure in metrics):
        notes.append("The numbers are the newest of each run; where those are of different iterations, it is said.")
    notes += [note for group in groups for note in notes_on_lacking(group, heads_of(metrics))]
    machines = list(dict.fromkeys(machine_in_words(run) for run in runs))
    if len(machines) > 1:
        notes.append(f"Time, images/s and memory are of different machines: {'; '.join(machines)}.")
    return notes


def notes_on_lacking(group: Group, heads: Mapping[Measure, str]) -> list[str]:
    """Of which numbers a run of a group has none, though other seeds have: the mean is not of all seeds then."""
    taken = [measure for measure in heads if any(measure in run.metrics for run in group.runs)]
    lacking = [(run, [heads[measure] for measure in taken if measure not in run.metrics]) for run in group.runs]
    return [
        f"{group.label}: seed {run.seed} has no {', '.join(names)}, which other seeds have ({run.path})."
        for run, names in lacking
        if names
    ]


def machine_in_words(run: RunRecord) -> str:
    """What time depends on besides the recipe: `x86_64, 2 threads, fp32, torch 2.6.0`."""
    known = run.environment
    threads = plural(known["threads"], "thread") if "threads" in known else ""
    parts = [
        known.get("device_name", ""),
        threads,
        known.get("precision", ""),
        f"torch {known.get('torch', 'unknown')}",
    ]
    return ", ".join(part for part in parts if part)


def _when(runs: Sequence[RunRecord], measure: Measure) -> list[int]:
    """At which iterations the newest numbers of the runs were taken."""
    return [run.metrics[measure][-1][0] for run in runs if measure in run.metrics]


def newest_in_words(runs: Sequence[RunRecord], measure: Measure, when: Sequence[int]) -> str:
    """The newest number of each run; those of different iterations are not averaged."""
    by_iteration: dict[int, list[float]] = {}
    for run in runs:
        if measure in run.metrics:
            iteration, value = run.metrics[measure][-1]
            by_iteration.setdefault(iteration, []).append(value)
    return (
        "\n".join(
            spread_in_words([*values, *[None] * (len(runs) - len(values))], brief)
            + (f" at {iteration}" if len(set(when)) > 1 else "")
            for iteration, values in sorted(by_iteration.items(), reverse=True)
        )
        or NOTHING
    )


def spread_in_words(values: Sequence[float | None], word: Callable[[float], str]) -> str:
    """`7.5 (7 to 8), n 2`: the mean, the lowest and the highest, and of how many; `8, n 2` when all are alike.

    What is not finite has no part in it, and is counted: `8, n 1, 1 not finite`.
    """
    known = [value for value in values if value is not None]
    if len(values) == 1 and known:
        return word(known[0])
    finite = [value for value in known if math.isfinite(value)]
    broken = [f"{len(known) - len(finite)} not finite"] if len(finite) < len(known) else []
    return ", ".join([*_spread(finite, word), *broken]) or NOTHING


def _spread(values: Sequence[float], word: Callable[[float], str]) -> list[str]:
    """The mean with its bounds, and of how many; nothing of none."""
    if not values:
        return []
    low, high = word(min(values)), word(max(values))
    return [low if low == high else f"{word(fmean(values))} ({low} to {high})", f"n {len(values)}"]


def counts_in_words(counts: Sequence[int | None]) -> str:
    """Of runs that differ by their seed alone the networks are alike."""
    return ", ".join(dict.fromkeys(f"{count:,}" for count in counts if count is not None)) or NOTHING


def state_in_words(runs: Sequence[RunRecord]) -> str:
    """`finished at 450`, `stopped at 300`; of several, how many of each."""
    states = [f"{run.ending.state} at {run.ending.iteration}" for run in runs]
    if len(runs) == 1:
        return states[0]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def format_ending(run: RunRecord) -> str:
    """How a run ended, in a sentence, with what to do about it."""
    ending = run.ending
    go_on = f"`gankit resume {run.path}` goes on"
    match ending.state:
        case "finished":
            return f"finished: {plural(ending.iteration, 'iteration')}"
        case "stopped":
            return f"stopped at iteration {ending.iteration}: {ending.reason}"
        case "interrupted":
            return f"interrupted at iteration {ending.iteration}; {go_on}"
        case "failed":
            # The sentence of a loss that is no number names the iteration itself.
            reason = (ending.reason or "").removeprefix(f"iteration {ending.iteration}: ")
            return f"broken down at iteration {ending.iteration}: {reason}"
        case "cut short":
            return f"cut short after iteration {ending.iteration}, without a word why; {go_on}"
        case "running":
            return f"still running, at iteration {ending.iteration} or later"


@dataclass(frozen=True)
class Advice:
    """What a plugin said of a run, perhaps again and again."""

    sentence: str
    """As it was said last."""

    iterations: list[int]


def said(run: RunRecord) -> list[Advice]:
    """The advice of a run, what was said last first; sentences that differ in numbers alone are one."""
    found: dict[str, tuple[str, list[int]]] = {}
    for iteration, sentence in run.warnings:
        key = re.sub(r"[-+]?\d[\d.,e+-]*", "", sentence)
        iterations = [*found.pop(key, ("", []))[1], iteration]
        found[key] = (sentence, iterations)
    return [Advice(sentence, iterations) for sentence, iterations in reversed(found.values())]


def format_warning(advice: Advice) -> str:
    first, last = advice.iterations[0], advice.iterations[-1]
    when = (
        f"iteration {last}"
        if len(advice.iterations) == 1
        else f"iterations {first} to {last}, {len(advice.iterations)} times"
    )
    return f"{when}: {advice.sentence}"
