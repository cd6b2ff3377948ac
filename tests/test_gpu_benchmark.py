"""benchmarks/gpu.py, as far as it goes without a GPU: its arithmetic, its loops, and a walk through all its parts."""

import json
import threading
from multiprocessing import Pipe
from pathlib import Path

import gpu
import gpu_checks
import gpu_defaults
import gpu_page
import gpu_resume
import gpu_speed
import pytest
import torch
from gpu_by_hand import PLAIN, TUNED, by_hand
from gpu_flops import flops_of, peak
from gpu_graphs import Again, RecordedIteration, refusal
from gpu_profile import Activity, activities_of, busy_time, costs, gaps, idle_share, summary
from gpu_waits import waits_of
from gpu_workloads import WORKLOADS, assembled

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
QUICK = gpu.Options("cpu", quick=True)


@pytest.fixture(autouse=True)
def switches():
    """What the loops turn for the whole process, turned back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
    torch.use_deterministic_algorithms(False)


# The arithmetic of one convolution: 5 images, 6 channels to 4, kernel 3, 8x8 pixels to 6x6.
ONE = 2 * 5 * 36 * 4 * 6 * 9


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_and_its_two_gradients_cost_the_same_each(groups):
    layer = torch.nn.Conv2d(6, 4, 3, groups=groups)
    x = torch.randn(5, 6, 8, 8, requires_grad=True)
    assert flops_of(lambda: layer(x)) == ONE // groups
    assert flops_of(lambda: layer(x).sum().backward()) == 3 * ONE // groups
    assert flops_of(lambda: layer(x.detach()).sum().backward()) == 2 * ONE // groups


@pytest.mark.parametrize("groups", [1, 2])
def test_so_do_those_of_a_transposed_convolution(groups):
    layer = torch.nn.ConvTranspose2d(4, 6, 3, groups=groups)
    x = torch.randn(5, 4, 6, 6, requires_grad=True)
    assert flops_of(lambda: layer(x)) == ONE // groups
    assert flops_of(lambda: layer(x).sum().backward()) == 3 * ONE // groups


def test_a_penalty_costs_five_convolutions():
    """Forward, the gradient with respect to x, that gradient's two derivatives, and the forward pass's one."""
    layer = torch.nn.Conv2d(6, 4, 3)

    def penalty():
        x = torch.randn(5, 6, 8, 8, requires_grad=True)
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        torch.autograd.grad(slope.square().sum(), layer.weight)

    assert flops_of(penalty) == 5 * ONE


def test_a_matrix_product_counts_two_for_each_pair():
    assert flops_of(lambda: torch.randn(3, 5) @ torch.randn(5, 7)) == 2 * 3 * 5 * 7


def test_the_peak_is_known_by_the_devices_whole_name():
    assert peak("NVIDIA H200", "bf16") == peak("NVIDIA H100 80GB HBM3", "bf16") == 989.5e12
    assert peak("NVIDIA A100-SXM4-80GB", "tf32") == 156e12
    # Other chips, and a slice of one.
    for name in ("NVIDIA H100 PCIe", "NVIDIA H200 MIG 1g.18gb", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 4090"):
        assert peak(name, "fp32") is None


def test_gaps_are_where_nothing_runs():
    overlapping = [(10.0, 14.0), (0.0, 4.0), (3.0, 5.0), (11.0, 12.0), (14.0, 15.0)]
    assert gaps(overlapping) == [5.0]
    assert busy_time(overlapping) == 10.0
    assert idle_share(overlapping) == pytest.approx(1 / 3)
    assert idle_share([(2.0, 3.0)]) == 0.0
    assert gaps([]) == []


def test_only_what_the_device_does_is_taken_from_a_trace():
    def event(cat, ts, dur, name="k", ph="X"):
        return {"cat": cat, "ts": ts, "dur": dur, "name": name, "ph": ph}

    trace = {
        "traceEvents": [
            event("kernel", 20, 2, "b"),
            event("gpu_user_annotation", 0, 100, "Optimizer.step#Adam.step"),
            event("gpu_memcpy", 10, 1, "copy"),
            event("cpu_op", 0, 9),
            {"ph": "M", "name": "process_name"},
        ]
    }
    found = activities_of(trace, {"kernel", "gpu_memcpy"})
    assert found == [Activity("copy", 10, 11), Activity("b", 20, 22)]


def test_costs_are_by_kernel_the_costliest_first():
    found = [Activity("a", 0, 1000), Activity("b", 1000, 4000), Activity("a", 5000, 6000)]
    a, b = {"milliseconds": 1.0, "calls": 1.0, "share": 0.4}, {"milliseconds": 1.5, "calls": 0.5, "share": 0.6}
    assert costs(found, iterations=2) == [{"name": "b"} | b, {"name": "a"} | a]
    assert summary(found, 2) | {"costs": []} == {
        "iterations": 2,
        "milliseconds": 3.0,
        "activities": 1.5,
        "idle_share": pytest.approx(1 / 6),
        "long_gaps": 0.5,
        "longest_gap": 1000,
        "costs": [],
    }
    with pytest.raises(ValueError, match="has seen nothing"):
        summary([], 1)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_tuned_loop_does_gankits_work_and_the_plain_one_more(name):
    run = assembled(name, "fp32", "cpu", quick=True)
    tuned, plain = (flops_of(by_hand(run, habits)) for habits in (TUNED, PLAIN))
    assert tuned == flops_of(lambda: train_iteration(run))
    assert plain > tuned


def test_times_are_kept_when_the_arithmetic_cannot_be_counted(monkeypatch):
    def broken(loop):
        raise RuntimeError("an operation that is not known")

    monkeypatch.setattr(gpu_speed, "flops_of", broken)
    setting = gpu_speed.Setting("dcgan_64", "fp32", "cpu", quick=True)
    (row,) = gpu_speed.rows(setting, {gpu_speed.BASE: gpu_speed.plain}, 0.1)
    assert row["milliseconds"][1] > 0
    assert (row["flops_error"], row["share_of_peak"]) == ("RuntimeError: an operation that is not known", None)


def test_a_process_that_cannot_build_its_loop_says_so_each_time(monkeypatch):
    def broken(run, habits):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(gpu_defaults, "by_hand", broken)
    mine, its = Pipe()
    setting = gpu_speed.Setting("dcgan_64", "fp32", "cpu", quick=True)
    worker = threading.Thread(target=gpu_defaults._answer, args=(its, setting, TUNED), daemon=True)
    threads = torch.get_num_threads()
    worker.start()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no kernel"):
            gpu_defaults._ask(mine, 1)
    mine.close()
    worker.join(10)
    torch.set_num_threads(threads)
    assert not worker.is_alive()


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_recorded_iteration_learns_what_a_played_one_does(name):
    """Over more than an epoch, to the byte."""
    played, replayed = (assembled(name, "fp32", "cpu", quick=True) for _ in range(2))
    # A graph's rates are in float32. Where gradients are 0 but for rounding, Adam makes much of the difference.
    factor = played.rate_factor
    played.rate_factor = lambda player: torch.tensor(factor(player))
    torch.manual_seed(0)
    for _ in range(5):
        train_iteration(played)
    torch.manual_seed(0)
    recording = RecordedIteration(replayed, Again)
    for _ in range(2):
        recording()
    assert (replayed.iteration, replayed.step_counts) == (played.iteration, played.step_counts)
    for player, parameters in played.parameters.items():
        for ours, theirs in zip(parameters, replayed.parameters[player], strict=True):
            assert torch.equal(ours, theirs)


def test_a_recording_counts_no_iteration_and_takes_what_comes_next():
    """A graph plays nothing while it is recorded, and what it reads is written before each launch."""
    seen = []

    class Recorder:
        def __init__(self, loop, device):
            loop()  # as Python is called while a graph is recorded

        def replay(self):
            seen.append((run.batches.rows.clone(), {p: f.item() for p, f in recording.factors.items()}))

    run = assembled("igan_96", "fp32", "cpu", quick=True)
    recording = RecordedIteration(run, Recorder)
    assert run.iteration == 3
    recording()
    recording()
    assert run.iteration == 5
    assert run.step_counts == {"generator": 5, "discriminator": 15}
    (first, rates), (second, later) = seen
    assert first.shape == (4, 4)
    # Four images in all, so each draw is an epoch of its own.
    assert [row.sort()[0].tolist() for row in torch.cat([first, second])] == [[0, 1, 2, 3]] * 8
    assert not torch.equal(first, second)
    assert later["generator"] < rates["generator"] == pytest.approx((0.0002 + 1 / 3030) / 0.0002)


@pytest.mark.parametrize(
    ("tricks", "reason"),
    [
        ({"gradient_penalty": {"every": 16}}, "every 16th turn"),
        ({"moving_average": {}}, "moving_average may do another thing"),
        ({"instance_noise": {"over": 100}}, "the noise fades"),
        ({"balanced_steps": {}}, "a plugin decides in Python"),
    ],
)
def test_what_changes_from_one_iteration_to_the_next_is_not_recorded(tricks, reason):
    plain = assembled("igan_96", "fp32", "cpu", quick=True)
    run = assemble(Recipe.from_dict(merge(plain.recipe.to_dict(), {"tricks": tricks}), source=plain.recipe.source))
    run.load_data()
    assert reason in refusal(run)
    with pytest.raises(ValueError, match=reason):
        RecordedIteration(run, Again)
    assert refusal(plain) is None


def test_an_optimiser_that_counts_elsewhere_is_not_recorded():
    plain = assembled("dcgan_64", "fp32", "cpu", quick=True)
    sgd = {"optimizer": {"generator": {"use": "sgd"}}}
    run = assemble(Recipe.from_dict(merge(plain.recipe.to_dict(), sgd), source=plain.recipe.source))
    run.load_data()
    assert refusal(run).startswith("SGD")


def test_waits_are_counted():
    x, mask = torch.ones(3), torch.tensor([True, False, True])

    def loop():
        float(x[0])
        x[mask]
        torch.tensor(1.0)
        torch.full((), 1.0)
        x[torch.arange(2)]

    assert waits_of(loop, CPU) == {"aten._local_scalar_dense": 1, "aten.index": 1, "aten.lift_fresh": 1}


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_iteration_of_the_workloads_makes_the_cpu_wait(name):
    run = assembled(name, "fp32", "cpu", quick=True)
    train_iteration(run)
    assert waits_of(lambda: train_iteration(run), CPU) == {}


PIECES = [
    ("speed", "dcgan_64", "Speed"),
    ("profile", "dcgan_64", "Gaps and costs"),
    ("checks", "graph igan_vn_96", "Correctness"),
    ("checks", "resume dcgan_64", "Correctness"),
    ("defaults", "dcgan_64", "Defaults"),
    ("waits", "all parts", "What makes the CPU wait"),
    ("compiled", "dcgan_64", "Compiled"),
]


@pytest.mark.parametrize(("part", "cell", "heading"), PIECES)
def test_every_part_is_walked_through_and_shown(part, cell, heading, tmp_path):
    gpu.play(part, cell, QUICK, tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row for row in rows if "error" in row] == []
    assert all(row["passed"] for row in rows if part == "checks")
    machine = gpu.gpu_speed.describe(CPU)
    page = gpu.section({"options": {"quick": True}, "machine": machine, "parts": {part: rows}})
    assert page.startswith("## GPU\n")
    assert "the figures mean nothing" in page
    assert f"\n### {heading}\n" in page
    assert all(len(set(map(len, split))) == 1 for split in tables(page))


def test_no_part_is_left_out_here():
    assert {part for part, _, _ in PIECES} == set(gpu.PARTS)


def tables(page):
    """The cells of every table's lines."""
    lines = [line.replace(r"\|", "").split("|") if line.startswith("|") else None for line in page.splitlines()]
    table = []
    for line in [*lines, None]:
        if line is not None:
            table.append(line)
        elif table:
            yield table
            table = []


def test_errors_and_what_was_left_out_are_on_the_page():
    error = {"cell": "dcgan_64", "error": "left out: no time was left"}
    variant = {"workload": "igan_96", "precision": "bf16", "batch_size": 64, "variant": "gankit, graph"}
    parts = {name: [error] for name in gpu.PARTS}
    parts["speed"] = [error, variant | {"error": "RuntimeError: operation | not permitted\nwhen"}]
    found = {"options": {"quick": False}, "machine": {"torch": "2", "device": "cpu"}, "parts": parts}
    page = gpu.section(found)
    assert page.count("no time was left") == len(gpu.PARTS)
    assert r"| IGAN 96 | 64 | bf16 | gankit, graph | RuntimeError: operation \| not permitted when |" in page
    assert all(len(set(map(len, split))) == 1 for split in tables(page))


def test_a_goal_that_was_missed_is_said():
    def row(variant, ratio, **more):
        return {
            "workload": "dcgan_64",
            "precision": "tf32",
            "batch_size": 128,
            "variant": variant,
            "ratio": [ratio] * 3,
            "milliseconds": [1.0] * 3,
            "images_per_second": 1.0,
            "share_of_peak": 0.25,
            "memory": {"allocated": 1.0, "reserved": 2.0},
        } | more

    rows = [row("gankit, graph", 0.4), row("gankit, graph", 0.6, precision="bf16"), row("plain eager, again", 1.02)]
    found = {"options": {"quick": False}, "machine": {"torch": "2", "device": "H"}, "parts": {"speed": rows}}
    page = gpu.section(found)
    assert "Met in 1 of 2 comparisons; missed: DCGAN 64, bf16, batch 128 0.60." in page
    assert "DCGAN 64, tf32, batch 128 does not count: the control is 1.020." in page
    assert "Not run: compiled, profile, defaults, checks, waits" in page


def test_without_a_gpu_the_page_says_by_which_command():
    assert gpu.section({}) == gpu_page.NOT_RUN
    assert "python benchmarks/gpu.py --out DIR" in gpu_page.NOT_RUN


def test_a_piece_whose_process_fails_is_a_row():
    (row,) = gpu.apart("speed", "no_such_work", QUICK, seconds=60)
    assert row == {"cell": "no_such_work", "error": "ended with 1: KeyError: 'no_such_work'"}
    (row,) = gpu.apart("profile", "dcgan_64", QUICK, seconds=1)
    assert row["error"] == "left out: no time was left"


def test_a_variant_that_fails_is_a_row_and_the_others_are_measured():
    def broken(setting):
        raise RuntimeError("not permitted while a graph is recorded\nand more")

    variants = {gpu.gpu_speed.BASE: gpu.gpu_speed.plain, "broken": broken}
    whole, failed = gpu.gpu_speed.rows(QUICK.setting("dcgan_64", "fp32"), variants, 0.0)
    assert whole["images_per_second"] > 0
    assert failed["error"] == "RuntimeError: not permitted while a graph is recorded"


def test_pytests_last_line_in_numbers():
    assert gpu_checks.counts("1 failed, 40 passed, 2 skipped, 1 error in 9.10s") == {
        "failed": 1,
        "passed": 40,
        "skipped": 2,
        "error": 1,
    }
    assert gpu_checks.counts("107/1893 tests collected (1786 deselected) in 9s") == {"collected": 107}


def test_runs_differ_in_the_files_that_are_not_alike(tmp_path):
    for run, text in (("a", "1"), ("b", "2")):
        (tmp_path / run).mkdir()
        (tmp_path / run / "same").write_text("x")
        (tmp_path / run / "other").write_text(text)
        (tmp_path / run / "log.jsonl").write_text(text)
    (tmp_path / "b" / "more").write_text("")
    assert gpu_resume.differences(tmp_path / "a", tmp_path / "b") == ["more", "other"]
