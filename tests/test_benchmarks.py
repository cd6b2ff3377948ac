"""Every benchmark starts and writes its table, and the arithmetic of the shared modules is right."""

import importlib
import json
import math
import re
import sys
import time
from itertools import permutations
from pathlib import Path

import adagan_modes
import asked_classes
import augment_dataset
import budget
import cost
import data
import gpu
import growth
import infogan_codes
import memory_by_hand
import performance
import pytest
import reconstructions
import semi_supervised
import startup
import systems
import torch
import workloads
from timing import Ratio, Rounds, bytes_of_tensors, command_line, interleaved, peak_of_tensors

import gankit
from gankit import Recipe
from gankit.cli import main
from gankit.images.grid import grid, to_bytes
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.command.adagan import command as adagan

ROOT = Path(__file__).parents[1]


def has_table(text):
    return re.search(r"^\|( --- \|)+\n\| ", text, re.MULTILINE) is not None


PROGRAMS = (
    "adagan_modes asked_classes augment_dataset baselines budget compression cost federated frechet_bias gpu "
    "memory_by_hand mnist_classifier modes performance privacy reconstructions semi_supervised table1 together"
)


@pytest.mark.parametrize("name", PROGRAMS.split())
def test_a_program_starts(name, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main(["--help"])
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["loop", "systems", "defaults", "classes", "growth"])
def test_a_benchmark_writes_its_section(name, tmp_path, capsys, monkeypatch):
    module = importlib.import_module(name)
    if name == "classes":  # two classes instead of ten
        with_classes = module.with_classes
        monkeypatch.setattr(module, "with_classes", lambda n, overrides: with_classes(min(n, 2), overrides))
    if name == "growth":
        monkeypatch.setattr(module.dcgan, "__defaults__", (8, 8, 2, 100, 0))
    command_line(module.__doc__, module.measure, module.section, ["--quick", "--json", str(tmp_path / "result.json")])
    stored = module.section(json.loads((tmp_path / "result.json").read_text()))
    assert stored in capsys.readouterr().out
    assert stored.startswith("## ")
    assert has_table(stored)
    assert "nan" not in stored


@pytest.mark.parametrize("recipe", systems.LOOPS)
def test_small_networks_of_each_system_are_built(recipe):
    run = systems.started_run(recipe, systems.small(recipe))
    systems.hand_written(recipe, run)
    assert run.iteration == systems.START.get(recipe, 0)


def test_both_forms_of_a_modulated_convolution_are_equal():
    layer, x, w = systems.ModulatedConv2d(4, 4, 3, w_size=5), torch.randn(3, 4, 6, 6), torch.randn(3, 5)
    torch.testing.assert_close(systems.grouped(layer, x, w), layer(x, w))


def test_the_cost_of_a_plugin_is_printed(monkeypatch, capsys):
    small = {"train": {"batch_size": 8}, "data": {"count": 16, "resolution": 8}}
    small |= {"generator": {"channels": 2}, "discriminator": {"width": 2}}
    monkeypatch.setattr(cost, "PLAIN", merge(cost.PLAIN, small))
    cost.main(["--pairs", "2", "--only", "trick label_smoothing"])
    assert re.search(r"^trick label_smoothing \d", capsys.readouterr().out, re.MULTILINE)


def test_training_from_a_file_is_timed(tmp_path, monkeypatch):
    work = data.WORK["28x28 grey"] | {"width": 2}
    monkeypatch.setitem(data.WORK, "28x28 grey", work)
    for file in ("large", *data.COLD):
        data.random_images(tmp_path / file, "28x28 grey", 2 * data.MIB)
    warm = data.train_from_file("28x28 grey", str(tmp_path / "large"), quick=True)
    cold = data.train_cold("28x28 grey", str(tmp_path), quick=True)
    preparing = {"all_to_one": (0.5, 0.5, 0.5), "few": 1, "many": 10, "cores": 2, "per_second": {"one": 1, "all": 2}}
    result = {
        "machine": "a machine",
        "training": {"28x28 grey": warm | {"file": 2**21, "limit": None, "reclaims": None}},
        "cold": {"28x28 grey": cold},
        "preparing": preparing | {"runs": {"10": {"peak": 2**20, "seconds": 1.0}}},
    }
    assert has_table(data.section(result))


def test_checkpoints_are_timed(tmp_path):
    result = {
        "machine": "a machine",
        "help": [0.1, 0.5, 0.5],
        "first": {"torch": [1.0, 1.0], "torch again": [1.0, 1.0], "igan_vn": [3.9, 3.9], "wgan_mnist": [4.2, 4.2]},
        "memory": {"DCGAN": {"gankit": 3 * 2**20, "by hand": 2 * 2**20}},
        "checkpoints": startup.checkpoint_costs(["gaussian_ring"], tmp_path, 2),
    }
    lines = startup.section(result).splitlines()
    assert any(line.startswith("| gaussian_ring | ") for line in lines)
    assert [line for line in lines if "MISSED" in line and "gaussian_ring" not in line] == [
        "| the end of `gankit --help` | 0.50 (0.10 to 0.50) | | MISSED: < 0.3 |",
        "| the first iteration of `gankit run wgan_mnist` | 4.20 (4.20 to 4.20) | 3.20 (3.20 to 3.20) | MISSED: < 3 |",
        "| DCGAN | 3 MiB | 2 MiB | 1.50 | MISSED: < 1.1 |",
    ]


def test_categories_get_the_digits_with_the_most_matches():
    counts = torch.randint(0, 50, (5, 5), generator=torch.Generator().manual_seed(0))
    expected = max(sum(counts[i, j].item() for i, j in enumerate(order)) for order in permutations(range(5)))
    assert infogan_codes.best_matches(counts) == expected


AUTOENCODER = {
    "train": {"iterations": 1, "batch_size": 4, "device": "cpu"},
    "data": {"use": "shapes", "resolution": 8, "count": 12},
    "generator": {"use": "began", "width": 2},
    "discriminator": {"use": "began", "width": 2, "code": 3},
    "loss": {"use": "began"},
}


def test_a_picture_of_reconstructions_is_drawn(tmp_path, capsys):
    run = gankit.train(Recipe.from_dict(AUTOENCODER), tmp_path / "run").path
    reconstructions.main([str(run), "--out", str(tmp_path / "picture.png"), "--count", "3"])
    errors = re.fullmatch(r"real: (\S+), generated: (\S+)\n", capsys.readouterr().out)
    assert all(float(error) > 0 for error in errors.groups())
    restored = reconstructions.restored(str(run))
    real = restored.draw_reference(3).images
    expected = restored.discriminator.eval()(real, None).extra["reconstruction"].detach()
    shown, values = reconstructions.reconstructions(restored, 3)
    rows = grid(to_bytes(torch.cat([real, expected])), 3)
    assert shown.crop((shown.width - rows.width, 0, shown.width, rows.height)).tobytes() == rows.tobytes()
    assert values["real"] == pytest.approx((real - expected).abs().mean().item())


def test_a_run_without_reconstructions_is_refused(tmp_path):
    recipe = merge(AUTOENCODER, {"discriminator": {"use": "dcgan", "width": 2}, "loss": {"use": "hinge"}})
    run = gankit.train(Recipe.from_dict(recipe), tmp_path / "run").path
    with pytest.raises(SystemExit, match="the discriminator 'dcgan' returns no reconstruction"):
        reconstructions.main([str(run), "--out", str(tmp_path / "picture.png")])


def test_shares_of_images_with_the_requested_class():
    predicted, labels = torch.tensor([0, 1, 1, 1, 3]), torch.tensor([0, 0, 1, 1, 2])
    assert asked_classes.shares_as_asked(predicted, labels, 3) == [0.5, 1, 0]


def test_recipes_are_compared_by_the_requested_classes(tmp_path, capsys):
    small = ["train.iterations=2", "train.batch_size=12", "generator.channels=2", "discriminator.width=2"]
    data = ["data.count=240", "data.resolution=16", "--test", "data.seed=1", "--count", "12"]
    asked_classes.main(["igan_vn", *small, *data, "--seeds", "0", "1", "--pictures", str(tmp_path)])
    _, test, *runs = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert test["as asked"] > 0.5
    assert [(run["seed"], run["iterations"]) for run in runs] == [(0, 2), (1, 2)]
    assert all(0 <= share <= 1 for run in runs for share in run["by class"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["igan_vn_0.png", "igan_vn_1.png"]


def test_semi_supervised_training_is_compared_with_the_labels_alone_and_continues(tmp_path, capsys):
    images = "{ use = 'shapes', count = 40, resolution = 8, kinds = ['circle', 'ring'] }"
    small = [f"data.images={images}", f"metrics.classifier_accuracy.data={images}", "discriminator.width=2"]
    small += ["generator.hidden=[8]", "train.iterations=2", "train.batch_size=4"]
    file = tmp_path / "rows.jsonl"
    given = [*small, "--seeds", "0", "--out", str(file), "--labels"]
    semi_supervised.main([*given, "4"])
    first = file.read_text()
    rows = [json.loads(line) for line in first.splitlines()]
    assert [(row["labels"], row["method"]) for row in rows] == [(4, "semi-supervised"), (4, "labels only")]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    capsys.readouterr()
    semi_supervised.main([*given, "4", "6"])
    printed = capsys.readouterr().out
    assert file.read_text().startswith(first)
    assert len(file.read_text().splitlines()) == 4
    assert has_table(printed)
    assert len([line for line in printed.splitlines() if line.startswith("{")]) == 2


def test_shares_are_relative_to_the_iterations_in_between():
    seconds = {"iteration": [0.1, 0.2], "checkpoint": [1.0, 2.0], "grid": [0.0, 0.0], "log": [0.3, 0.6]}
    costs = {"seconds": seconds, "every": {"checkpoint": 100, "grid": 100, "log": 30}}
    assert startup.shares(costs) == pytest.approx({"checkpoint": 0.1, "grid": 0.0, "log": 0.1})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read on Linux")
@pytest.mark.parametrize(("loop", "side"), [("dcgan", 28), ("dcgan", 64), ("wgan_gp", 28), ("igan_vn", 28)])
def test_the_measured_hand_written_networks_have_the_shapes_of_gankit(tmp_path, capsys, loop, side):
    images, labels = startup.random_images(tmp_path / "images", 130)
    overrides = [f"data.folder='{images.parent}'", f"data.resolution={side}"]
    run = assemble(Recipe.load(ROOT / "recipes" / f"{loop}_mnist.toml", overrides))
    for network, expected in zip(memory_by_hand.networks(loop, side), (run.generator, run.discriminator), strict=True):
        assert shapes(network) == shapes(expected)
    memory_by_hand.main([loop, str(images), str(labels), "--resolution", str(side), "--iterations", "1"])
    assert int(capsys.readouterr().out) > 2**20


def shapes(network):
    return [tuple(value.shape) for value in network.state_dict().values()]


def test_the_gpu_program_runs_its_tiny_version_on_a_cpu(tmp_path, capsys):
    gpu.main(["--out", str(tmp_path), "--only", "speed,memory,waits", "--device", "cpu", "--smoke"])
    text = (tmp_path / "gpu.md").read_text()
    assert has_table(text)
    assert all(f"| {section} | DCGAN 64" in text for section in ("speed", "memory", "waits"))
    assert torch.__version__ in text
    assert text == gpu.section(json.loads((tmp_path / "gpu.json").read_text()))


def test_the_gpu_program_kills_and_resumes_a_run(monkeypatch):
    """Only the killed run has a process of its own."""
    started = []

    def start(*arguments, trace):
        started.append(arguments)
        monkeypatch.setenv("TRACE", str(trace))
        return real_start(*arguments, trace=trace) if len(started) == 2 else None

    def train(process):
        with pytest.raises(SystemExit) as ended:
            main([*started[-1], "--quiet"])
        assert not ended.value.code

    real_start = gpu.start_gankit
    monkeypatch.setattr(gpu, "start_gankit", start)
    monkeypatch.setattr(gpu, "expect_success", train)
    rows = list(gpu.resume(gpu.Options("cpu", smoke=True)))
    assert len(rows) == 3
    assert all(row["result"].startswith("passed") for row in rows)


def test_the_gpu_program_shows_a_failed_section_as_a_row(monkeypatch):
    monkeypatch.setitem(gpu.SECTIONS, "speed", lambda options: iter([1 / 0]))
    result = gpu.measure_sections(["speed"], gpu.Options("cpu", smoke=True))
    assert "| speed | error |  |  | FAILED: ZeroDivisionError: division by zero |" in gpu.section(result)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_program_refuses_a_machine_without_a_gpu(tmp_path):
    with pytest.raises(SystemExit, match="finds no GPU"):
        gpu.main(["--out", str(tmp_path)])


def test_the_gpu_program_names_the_first_iteration_that_differs(tmp_path):
    for name, last in (("one", 2.0), ("two", 3.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generator.safetensors").write_text(str(last))
        rows = [
            {"iteration": 1, "loss": {"a": 1.0}},
            {"metrics": {}, "iteration": 1},
            {"iteration": 2, "loss": {"a": last}},
        ]
        (tmp_path / name / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = gpu.difference(tmp_path / "one", tmp_path / "two", "")
    assert found == "FAILED, losses differ from iteration 2 on; different: generator.safetensors"


def test_the_gpu_program_names_the_first_checksum_that_differs(tmp_path):
    for name, value in (("one", 2), ("two", 3)):
        (tmp_path / name).mkdir()
        rows = [
            {"1, discriminator step 1, real images": 1},
            {"1, discriminator step 1, gradient of w": value, "2": value},
        ]
        (tmp_path / name / "7.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = tmp_path / "one", tmp_path / "two"
    place = "FAILED, first different: iteration 1, discriminator step 1, gradient of w; "
    assert (gpu.first_difference(one, two), gpu.first_difference(one, one)) == (place, "")


def test_runs_are_compared_without_files_that_hold_times(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "grid.png").write_bytes(b"1")
    (tmp_path / "log.jsonl").write_bytes(b"2")
    assert gpu.contents(tmp_path) == {"samples/grid.png": b"1"}


def test_the_page_has_a_section_for_each_result(tmp_path):
    result = {"machine": "a machine", "batch": 60, "target": 1.3, "precisions": {}}
    (tmp_path / "classes.json").write_text(json.dumps(result))
    text = performance.page(tmp_path)
    assert re.findall("^## .*", text, re.MULTILINE) == ["## Cost of a class", "## GPU"]
    assert "python benchmarks/gpu.py" in text


def test_ratios_are_taken_within_a_round():
    rounds = Rounds({"a": [2.0, 20.0, 200.0], "b": [1.0, 10.0, 100.0]}, {"a": [1.0] * 3, "b": [4.0] * 3}, 1)
    assert rounds.ratio("a", "b") == (2.0, 2.0, 2.0)
    assert rounds.ratio("a", "b", "cpu").median == 0.25
    assert rounds.summed({"both": ["a", "b"], "b": ["b"]}).wall == {"both": [3.0, 30.0, 300.0], "b": [1.0, 10.0, 100.0]}


@pytest.mark.parametrize(("control", "busy", "valid"), [(1.0, 1.0, True), (1.02, 1.0, False), (1.0, 0.5, False)])
def test_a_measurement_is_valid_with_a_quiet_control_and_busy_cores(control, busy, valid):
    rounds = Rounds({"a": [1.0]}, {"a": [busy * torch.get_num_threads()]}, 1)
    assert (rounds.invalid(Ratio(control, control, control)) is None) == valid


def test_interleaved_rounds_call_every_loop_in_changing_order():
    calls = []
    loops = {name: lambda name=name: calls.append(name) for name in "abc"}
    before = {"a": lambda: (calls.append("before"), time.sleep(0.05))}
    rounds = interleaved(loops, rounds=8, warm_up=0, before=before)
    # What prepares a block is called before it and is not timed.
    assert " ".join(calls).count("before a") == calls.count("before") == 8
    assert max(rounds.wall["a"]) < 0.05
    orders = "".join(calls).replace("before", "")
    orders = [orders[begin : begin + 3] for begin in range(0, 24, 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(set(orders)) > 2


def test_the_peak_of_tensors_is_the_most_that_exists_at_once():
    def loop():
        torch.ones(1000)
        second = torch.ones(2000)
        return torch.cat([second])

    assert peak_of_tensors(loop) == 4 * 4000
    assert bytes_of_tensors(loop) == 4 * 5000


def test_the_exponent_of_a_power_law_is_found_by_least_squares():
    sizes = [3, 10, 40, 1000]
    for power in (-1.0, 0.0, 0.5):
        assert growth.exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)
    # The logarithms are 0, 1, 2 against 0, 1, 1: the slope is 1/2.
    assert growth.exponent([1, math.e, math.e**2], [1, math.e, math.e]) == pytest.approx(0.5)


def test_the_limits_at_a_larger_scale_follow_from_the_figures():
    exponent = {"median": 1.0, "low": 1.0, "high": 1.0}
    quantities = {
        "an iteration": ["images in the batch", "classes, 2 images of each", "plugins that do nothing"],
        "a new epoch's order": ["images in the data"],
        "`gankit list-plugins`": ["plugins installed"],
        "`gankit --help`": ["plugins installed"],
        "the report": ["rows of the log"],
        "a resume's rewind": ["rows of the log"],
        "a comparison's page": ["runs"],
    }
    figures = {"sizes": [2, 202], "milliseconds": [3, 303], "times": [1, 101], "exponent": exponent}
    growths = [figures | {"what": what, "quantity": q} for what, names in quantities.items() for q in names]
    result = {
        "machine": "a machine",
        "growths": growths,
        "ranks": {"one": [10.0] * 3, "two that share": [5.0] * 3, "two": [16.0] * 3, "one again": [10.1] * 3},
        "order": {"images": 6_000_000, "bytes": 96_000_000},
        "parameters of a class": 125_000,
        "installed": 90,
    }
    text = growth.section(result)
    assert "5.0 ms, 2.00 times as fast" in text
    assert "16.0 ms, 1.25 times the images per second" in text
    assert "| an iteration | ranks that share a batch of 128 | 1 | 2 | 10 ms | 0.5 | -1.00 (-1.00 to -1.00) |" in text
    assert "1,000 classes have 125 million" in text
    assert "101.00 times as long, 1500.0 microseconds for each" in text


def test_generated_distributions_are_installed(tmp_path, monkeypatch):
    from gankit.plugin.registry import Registry

    monkeypatch.syspath_prepend(str(growth.installed(tmp_path, 10)))
    entries = [entry for entry in Registry.installed().entries if entry.distribution.startswith("kit-")]
    assert len(entries) == 10
    assert all(entry.load().name == entry.name for entry in entries)


def test_modes_of_a_mixture_are_those_with_points_enough():
    modes = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
    points = torch.tensor([[0.0, 0.01]] * 18 + [[0.5, 0.0]] + [[0.3, 0.3]])
    assert adagan_modes.covered(points, modes, 0.05, 0.1) == (1, 2, pytest.approx(0.95))
    assert adagan_modes.covered(points, modes, 0.05, 0.05) == (2, 2, pytest.approx(0.95))


def test_studies_are_compared_with_runs_on_the_data_of_the_recipe(tmp_path, capsys):
    settings = ["train.iterations=4", "train.batch_size=8", "data.count=40", "generator.hidden=[4]"]
    arguments = ["gaussian_ring", "--steps", "2", "--discriminator-steps", "5", "--out", str(tmp_path / "study")]
    adagan.main([*arguments, *settings, "discriminator.hidden=[4]"], standalone_mode=False)
    for _ in range(2):
        capsys.readouterr()
        adagan_modes.main([str(tmp_path / "study"), "--out", str(tmp_path / "controls"), "--count", "50"])
        text = capsys.readouterr().out
        assert has_table(text)
        ours, control = (line.split(" | ") for line in text.splitlines()[2:])
        # The first generator is the same.
        assert ours[2] == control[2]


def test_growing_networks_are_timed_at_all_stages(monkeypatch):
    """PGGAN's recipe has nine stages of 400 iterations. Early ones are fast, because their images are small."""
    seen = []

    def recorded(run):
        def iteration():
            seen.append(run.iteration)
            run.iteration += 1

        return iteration

    monkeypatch.setattr(budget, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(budget, "iteration_of", recorded)
    monkeypatch.setattr(budget, "peak_of_tensors", lambda iteration: 0)
    settings = ["data={use='shapes', resolution=8, count=40}", "generator.max_width=4", "discriminator.max_width=4"]
    budget.measured("PGGAN", settings)
    assert [iteration // 400 for iteration in seen] == [stage for stage in range(9) for _ in range(5)]
    recipe = budget.recipe_of("PGGAN", settings)
    growth = "tricks.progressive_growing"
    assert budget.stretched(recipe, 900) == [f"{growth}.stable=100", f"{growth}.fade=100"]
    assert budget.stretched(budget.recipe_of("SNGAN", settings[:1]), 900) == []


def test_systems_are_trained_for_the_same_time(tmp_path, monkeypatch):
    recipe = ["data={use='shapes', resolution=8, count=40}", "generator.width=2", "discriminator.width=2"]
    monkeypatch.setattr(budget, "SYSTEMS", {"DCGAN": ("dcgan_mnist", [*recipe, "train.batch_size=8"])})
    monkeypatch.setattr(budget, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(budget, "COUNT", 16)
    monkeypatch.setattr(budget, "ROOT", tmp_path)
    start = workloads.subprocess.run

    def run(command, **options):
        """Run a Python program in this process, and start all others."""
        if command[1:3] == ["-m", "gankit"]:
            with pytest.raises(SystemExit, match=r"^0$"):
                main(command[3:])
        elif command[1:2] == [budget.__file__]:
            budget.main(command[2:])
        else:
            return start(command, **options)

    monkeypatch.setattr(workloads.subprocess, "run", run)
    (tmp_path / "docs").mkdir()
    arguments = ["--work", str(tmp_path), "--seeds", "0", "1", "--jobs", "1", "--minutes", "1e-6", "--page"]
    budget.main(arguments)
    written = (tmp_path / "docs" / "cifar10.md").read_text()
    assert has_table(written)
    assert re.search(r"\| DCGAN \| `dcgan_mnist` \| 1 \| 2 \| ", written)
    finished = (tmp_path / "DCGAN-0" / "recipe.toml").stat().st_mtime_ns
    budget.main(arguments)  # what is finished is kept
    assert (tmp_path / "DCGAN-0" / "recipe.toml").stat().st_mtime_ns == finished
    assert (tmp_path / "docs" / "cifar10.md").read_text() == written


def test_accuracies_with_and_without_generated_images():
    results = {
        "real": {"0": 0.80, "1": 0.82, "2": 0.81},
        "real, shifted": {"0": 0.9, "1": 0.9},
        "real + generated": {"0": 0.81, "1": 0.84, "2": 0.84},
        "real, shifted + generated": {"0": 0.91, "1": 0.88},
    }
    lines = augment_dataset.section(results, "about").splitlines()
    assert lines[0] == "about"
    cells = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in lines[4:]}
    assert cells["real + generated"] == ["83 (78.7 to 87.3)", "+2.00 (-0.48 to +4.48)", "3 |"]
    assert cells["real, shifted + generated"] == ["91, 88", "-0.50", "2 |"]
    assert cells["real"] == ["81 (78.5 to 83.5)", "", "3 |"]
    assert len(cells) == 4


def test_shifts_move_images_and_keep_their_size():
    torch.manual_seed(0)
    images = torch.zeros(50, 1, 16, 16, dtype=torch.uint8)
    images[:, :, 8, 6] = 255
    moved = augment_dataset.shifted(images, flips=False)
    places = {(row - 8, column - 6) for _, _, row, column in moved.nonzero().tolist()}
    assert moved.sum() == images.sum()
    assert places <= {(row, column) for row in range(-2, 3) for column in range(-2, 3)}
    assert len(places) > 10
    columns = {column for *_, column in augment_dataset.shifted(images, flips=True).nonzero().tolist()}
    assert columns == {4, 5, 6, 7, 8, 9, 10, 11}
