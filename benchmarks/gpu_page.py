"""The section on GPUs of docs/performance.md, from what benchmarks/gpu.py has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpu_workloads import WORKLOADS
from timing import CONTROL_WITHIN, ResolvedPlugin

COMMAND = "python benchmarks/gpu.py --out DIR"

NOT_RUN = (
    "## GPU\n\nNot measured: there was no GPU where this page was made. On a machine with one, "
    f"`{COMMAND}` measures and checks all of it within ten minutes.\n"
)

TARGET = 0.5
"""Of the plain loop's time: gankit's goal on a GPU."""

NO_GAPS = 0.01
"""Share of the time in which nothing runs that counts as none."""


def section(found: ResolvedPlugin) -> str:
    """Markdown that begins with a heading of level 2; figures come from `found` alone."""
    if not found:
        return NOT_RUN
    parts = found["parts"]
    pieces = [_introduction(found)]
    pages: dict[str, Callable[[list[ResolvedPlugin]], str]] = {
        "speed": _speed,
        "compiled": _compiled,
        "profile": _profile,
        "defaults": _defaults,
        "checks": _checks,
        "waits": _waits,
    }
    pieces += [page(parts[name]) for name, page in pages.items() if name in parts]
    missing = [name for name in pages if name not in parts]
    if missing:
        pieces.append(f"Not run: {', '.join(missing)} (`{COMMAND} --only {' '.join(missing)}`).\n")
    return "\n".join(pieces)


def _introduction(found: ResolvedPlugin) -> str:
    machine = found["machine"]
    software = [f"torch {machine['torch']}"]
    software += [f"CUDA {machine['cuda']}", f"cuDNN {machine['cudnn']}"] if "cuda" in machine else []
    quick = (
        "\n\n**Tried with tiny networks only: the figures mean nothing. Where there is no GPU, Python plays what a "
        "graph would.**"
        if found["options"]["quick"]
        else ""
    )
    return (
        f"## GPU\n\n{machine['device']}, {', '.join(software)}; `{COMMAND}`.{quick}\n\n"
        "The workloads are `dcgan_paper`, `igan_paper` and `igan_vn_paper` (ten classes, batches of 60) on images of "
        "noise that lie in the GPU's memory. *Plain eager* is the same work by hand with PyTorch as it comes, *tuned "
        "eager* with channels_last, cudnn.benchmark, fused Adam and D frozen in G's turn, as gankit has them; both "
        "draw their batches on the device. *Graph* is a whole iteration of gankit's as one CUDA graph. All loops of a "
        "comparison compute in its precision and take turns in one process; times are by CUDA events, medians of "
        "rounds, and ratios medians of the ratios within rounds, with quartiles. Images a second are real images shown "
        "to D. The share of the peak is the iteration's arithmetic (matrix products and convolutions of gankit's eager "
        "iteration, second derivatives included) a second over what NVIDIA publishes for dense matrices.\n"
    )


def _speed(rows: list[ResolvedPlugin]) -> str:
    table = [
        "| work | batch | precision | loop | ms | images/s | time to plain eager | of the peak | reserved, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(_speed_row, rows),
    ]
    return "\n".join(["### Speed", "", *table, "", *_verdicts(rows), ""])


def _compiled(rows: list[ResolvedPlugin]) -> str:
    table = [
        "| work | batch | precision | loop | ms | images/s | time to plain eager | of the peak | reserved, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(_speed_row, rows),
    ]
    words = (
        "`torch.compile` of G's forward pass, and of D's where no penalty takes its gradient: a compiled D raises when "
        "its backward pass is differentiated."
    )
    return "\n".join(["### Compiled", "", words, "", *table, ""])


def _speed_row(row: ResolvedPlugin) -> str:
    if "variant" not in row:
        return f"| {row.get('cell', '')} | | | | {_one_line(row['error'])} | | | | |"
    head = f"| {_title(row)} | {row['batch_size']} | {row['precision']} | {row['variant']} |"
    if "error" in row:
        return f"{head} {_one_line(row['error'])} | | | | |"
    share = row.get("flops_error", "not known") if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}"
    memory = f"{row['memory']['reserved']:.0f}" if row["memory"] else ""
    ratio = "" if row["ratio"] is None else _ratio(row["ratio"])
    return f"{head} {row['milliseconds'][1]:.2f} | {row['images_per_second']:.0f} | {ratio} | {share} | {memory} |"


def _verdicts(rows: list[ResolvedPlugin]) -> Iterable[str]:
    """Whether the goal was met, and which comparisons do not count."""
    measured = [row for row in rows if row.get("ratio")]
    for row in measured:
        if row["variant"] == "plain eager, again" and not CONTROL_WITHIN[0] <= row["ratio"][0] <= CONTROL_WITHIN[1]:
            yield f"- {_place(row)} does not count: the control is {row['ratio'][0]:.3f}."
    graphs = [row for row in measured if row["variant"] == "gankit, graph"]
    met = [row for row in graphs if row["ratio"][0] <= TARGET]
    missed = [f"{_place(row)} {row['ratio'][0]:.2f}" for row in graphs if row not in met]
    if graphs:
        yield (
            f"- Goal: half of the plain loop's time. Met in {len(met)} of {len(graphs)} comparisons"
            + (f"; missed: {', '.join(missed)}." if missed else ".")
        )


def _profile(rows: list[ResolvedPlugin]) -> str:
    lines = [
        "### Gaps and costs",
        "",
        "From the profiler's trace: *idle* is the share of the time between the first and the last kernel in which the "
        "GPU does nothing, *gaps* are those of more than 5 microseconds in an iteration.",
        "",
        "| work | precision | loop | kernels and copies | idle | gaps |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {_title(row)} | {row.get('precision', '')} | {_one_line(row['error'])} | | | |")
            continue
        counts = f"{row['activities']:.0f} | {row['idle_share']:.1%} | {row['long_gaps']:.0f}"
        lines.append(f"| {_title(row)} | {row['precision']} | {row['variant']} | {counts} |")
    graphs = [row for row in rows if row.get("variant") == "gankit, graph" and "error" not in row]
    if graphs:
        left = [f"{_place(row)} {row['idle_share']:.1%}" for row in graphs if row["idle_share"] > NO_GAPS]
        words = f"missed: {', '.join(left)}" if left else "met"
        lines += ["", f"Goal: no gap that a graph could close, at most {NO_GAPS:.0%} idle in a graph; {words}."]
    for row in rows:
        if "costs" in row:
            lines += ["", f"{_title(row)}, {row['precision']}, {row['variant']}:", ""]
            lines += ["| kernel | ms in an iteration | calls | share |", "| --- | --- | --- | --- |"]
            lines += [
                f"| `{_one_line(k['name'])}` | {k['milliseconds']:.3f} | {k['calls']:.0f} | {k['share']:.1%} |"
                for k in row["costs"]
            ]
    return "\n".join([*lines, ""])


def _defaults(rows: list[ResolvedPlugin]) -> str:
    lines = [
        "### Defaults",
        "",
        "The tuned loop by hand with one thing changed; above 1, gankit's default wins. One pass of D over real and "
        "generated images is another algorithm where D has batch norm. cudnn.benchmark is compared between two "
        "processes that take turns.",
        "",
        "| work | precision | changed | time to the tuned loop |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        result = _one_line(row["error"]) if "error" in row else _ratio(row["ratio"])
        lines.append(f"| {_title(row)} | {row.get('precision', '')} | {row.get('variant', '')} | {result} |")
    return "\n".join([*lines, ""])


def _checks(rows: list[ResolvedPlugin]) -> str:
    lines = ["### Correctness", ""]
    for row in rows:
        lines.append(f"- {_check(row)}")
    return "\n".join([*lines, ""])


def _check(row: ResolvedPlugin) -> str:
    if "check" not in row:
        return f"{row['cell']}: {_one_line(row['error'])}."
    verdict = "passed" if row["passed"] else "**failed**"
    if "error" in row:
        return f"{row['check']} {row.get('workload', '')}: {verdict}, {_one_line(row['error'])}."
    if row["check"] == "tests":
        counted = ", ".join(f"{number} {word}" for word, number in row["counts"].items())
        return f"`pytest -m gpu`: {verdict}, {counted}." + "".join(f" `{_one_line(name)}`." for name in row["failed"])
    if row["check"] == "resume":
        different = f"; different: {', '.join(row['different'])}" if row["different"] else ""
        return (
            f"{_title(row)}, tiny: killed behind iteration {row['killed_at']} and resumed, {row['files']} files to the "
            f"byte: {verdict}{different}."
        )
    return (
        f"{_title(row)}: weights after {row['iterations']} iterations as a graph and by Python, to the byte: "
        f"{verdict}, at most {row['apart']:.3g} apart."
    )


def _waits(rows: list[ResolvedPlugin]) -> str:
    waiting = [row for row in rows if row.get("waits")]
    failed = [f"- {row.get('part_name', row['cell'])}: {_one_line(row['error'])}." for row in rows if "error" in row]
    lines = [
        "### What makes the CPU wait",
        "",
        f"{len(rows)} parts, each in a small run, looked at for 30 iterations; how often that iteration waits which "
        "waits most often.",
        "",
        *[f"- {row['part_name']}: {_places(row['waits'])}." for row in waiting],
        *failed,
    ]
    if not waiting and not failed:
        lines.append("None does.")
    return "\n".join([*lines, ""])


def _places(waits: dict[str, int]) -> str:
    return ", ".join(f"`{place}` {count}" for place, count in waits.items())


def _title(row: ResolvedPlugin) -> str:
    name = row.get("workload")
    return WORKLOADS[name].title if name in WORKLOADS else row.get("cell", "")


def _place(row: ResolvedPlugin) -> str:
    batch = f", batch {row['batch_size']}" if "batch_size" in row else ""
    return f"{_title(row)}, {row['precision']}{batch}"


def _ratio(ratio: list[float]) -> str:
    median, low, high = ratio
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
