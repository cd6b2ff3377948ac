"""Command `gankit new-recipe`: findings about images, choices, the text of the recipe, and a recipe that trains."""

import os
import tomllib
import zipfile
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner
from PIL import Image

from gankit import FileFacts, InputError, Recipe, Session, StepMemory, load_dataset
from gankit_plugins.command import new_recipe, recipe_choice
from gankit_plugins.command.folder_findings import Findings, summarize, table_rows
from gankit_plugins.command.new_recipe import Times, command
from gankit_plugins.command.recipe_choice import (
    SYSTEMS,
    candidates,
    decay_for,
    evaluations_in,
    iterations_in,
    largest_power,
    plan_of,
    round_down,
    with_length,
)
from gankit_plugins.command.recipe_text import recipe_text, value_text
from gankit_plugins.command.this_machine import Machine, this_machine

CPU, GPU = Machine(4, 16 * 10**9), Machine(16, 64 * 10**9, "NVIDIA H200")
PLAIN = Findings(10_000, (), ((128, 128),) * 10_000, Counter(RGB=10_000), Counter(), (), 0, False, None)


def findings(count=10_000, side=128, **changes):
    return replace(PLAIN, **{"total": count, "sizes": ((side, side),) * count} | changes)


def classes(*counts):
    return Counter({f"c{number}": count for number, count in enumerate(counts)})


def image(number, size=(24, 20), mode="RGB"):
    colour = (number * 37 % 256, number * 91 % 256, number * 13 % 256, 128)
    picture = Image.new("RGBA" if mode == "RGBA" else "RGB", size, colour if mode == "RGBA" else colour[:3])
    return picture.convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Folder `photos` with images of two classes, a duplicate, a damaged file and other files."""
    top = tmp_path / "photos"
    for name, mode in (("cats", "RGB"), ("dogs", "RGBA")):
        (top / name).mkdir(parents=True)
        for number in range(6):
            image(number, (24 + number, 20), mode).save(top / name / f"{number}.png")
    (top / "cats" / "copy.png").write_bytes((top / "cats" / "0.png").read_bytes())
    (top / "dogs" / "cut.png").write_bytes((top / "dogs" / "1.png").read_bytes()[:60])
    (top / "notes.txt").write_text("x")
    return top


def findings_of(path):
    return summarize(load_dataset({"use": "images", "path": str(path)}, "test").inspect())


@pytest.mark.parametrize("zipped", [False, True])
def test_findings_of_a_folder_and_of_a_zip_file(folder, zipped, tmp_path):
    path = folder
    if zipped:
        path = tmp_path / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(folder))
    found = findings_of(path)
    assert (found.total, found.usable, found.distinct) == (14, 13, 12)
    assert (found.sizes[0], found.sizes[-1], found.median_side) == ((24, 20), (29, 20), 20)
    assert found.modes == Counter(RGB=7, RGBA=6)
    assert found.classes == Counter(cats=7, dogs=6)
    assert found.duplicates == ("cats/copy.png",)
    assert [file.name for file in found.unusable] == ["dogs/cut.png"]
    assert (found.transparent, found.grey, found.highest, found.bits) == (6, False, None, None)
    assert found.squares == 0
    rows = dict(table_rows(found))
    assert rows["sizes"] == "smallest 24x20, median 26x20, largest 29x20"
    assert rows["classes"] == "2: cats 7, dogs 6"
    assert rows["unusable"].startswith("1: dogs/cut.png (")


def test_grey_images_and_their_bits(tmp_path):
    for number in range(3):
        grey = Image.new("I;16", (20, 20), 4000 + number)
        grey.save(tmp_path / f"{number}.png")
    found = findings_of(tmp_path)
    assert (found.grey, found.highest, found.bits) == (True, 4002, 12)
    Image.new("RGB", (20, 20), (7, 7, 7)).save(tmp_path / "a.png")
    found = findings_of(tmp_path)
    assert (found.grey, found.highest) == (True, None)
    Image.new("RGB", (20, 20), (7, 7, 8)).save(tmp_path / "b.png")
    assert not findings_of(tmp_path).grey


@pytest.mark.parametrize(
    ("found", "machine", "minutes", "system", "side", "batch", "tricks"),
    [
        (findings(), CPU, 30, "dcgan", 64, 32, set()),
        (findings(), CPU, 5, "dcgan", 32, 32, set()),
        (findings(side=40), CPU, 30, "dcgan", 32, 32, set()),
        (findings(side=9), CPU, 30, "dcgan", 16, 32, set()),
        (findings(4999), CPU, 30, "fastgan", 64, 16, {"diff_augment", "discriminator_reconstruction"}),
        (findings(10), CPU, 30, "fastgan", 64, 8, {"diff_augment", "discriminator_reconstruction"}),
        (findings(classes=classes(5000, 5000)), CPU, 30, "ac_gan", 64, 64, {"auxiliary_classifier"}),
        (findings(400, classes=classes(200, 200)), CPU, 30, "ac_gan", 64, 64, {"auxiliary_classifier", "diff_augment"}),
        (findings(classes=classes(9950, 50)), CPU, 30, "dcgan", 64, 32, set()),
        (findings(classes=classes(*[100] * 100)), CPU, 30, "dcgan", 64, 32, set()),
        (findings(classes=classes(9700, 150, 150)), CPU, 30, "ac_gan", 64, 63, {"auxiliary_classifier"}),
        (findings(), GPU, 30, "fastgan", 128, 16, {"discriminator_reconstruction"}),
        (findings(side=64), GPU, 30, "dcgan", 64, 32, set()),
        (findings(), GPU, 120, "stylegan2", 128, 16, {"r1", "path_length", "style_mixing"}),
        (findings(300), GPU, 120, "stylegan2", 128, 16, {"r1", "path_length", "style_mixing", "ada"}),
        (
            findings(classes=classes(5000, 5000), side=300),
            GPU,
            240,
            "stylegan2",
            256,
            16,
            {"r1", "path_length", "style_mixing", "projection"},
        ),
    ],
)
def test_preferred_system(found, machine, minutes, system, side, batch, tricks):
    plan = candidates(found, machine, minutes)[0]
    assert (plan.system, plan.settings["data"]["resolution"], plan.batch) == (system, side, batch)
    own = {key.removeprefix("tricks.") for key in plan.settings if key.startswith("tricks.")}
    assert own == tricks | {"moving_average"}
    assert {"generator", "train.batch_size", "data.resolution"} <= plan.reasons.keys()
    assert ("metrics.memorisation" in plan.settings) == (found.distinct < 5000)


def test_later_plans_are_faster():
    plans = candidates(findings(1000), CPU, 30)
    order = [(plan.system, plan.settings["data"]["resolution"]) for plan in plans]
    assert order == [("fastgan", 64), ("dcgan", 64), ("fastgan", 32), ("dcgan", 32)]
    assert {plan.settings["data"]["resolution"] for plan in candidates(findings(1000), CPU, 30, 48)} == {48}
    assert [plan.system for plan in candidates(findings(), GPU, 600, 96)] == ["dcgan"]


def test_settings_of_the_data():
    def data_of(found):
        plan = candidates(found, CPU, 30)[0]
        return plan.settings["data"], plan

    assert data_of(findings())[0] == {"use": "images", "resolution": 64}
    assert data_of(findings(grey=True))[0]["channels"] == 1
    data, plan = data_of(findings(grey=True, highest=4000))
    assert (data["channels"], data["value_range"], plan.settings["extractor"]) == (1, [0, 4095], {"use": "pixels"})
    assert data_of(findings(classes=classes(50, 50)))[0]["classes"] is False
    bad = tuple(FileFacts(str(n), bytes([n]), error="cut") for n in range(100))
    assert "bad_limit" not in data_of(findings(10_000, unusable=bad))[0]
    data, plan = data_of(findings(1_000, unusable=bad))
    assert data["bad_limit"] * 1000 >= 100
    assert any("100 files cannot be used" in note for note in plan.notes)
    wide = findings(sizes=((200, 100),) * 10_000)
    assert "100% of the images are not squares" in data_of(wide)[1].reasons["data.resolution"]
    assert data_of(findings(classes=classes(9700, 150, 150)))[1].settings["train"]["class_balanced"]
    assert "very few" in data_of(findings(60))[1].notes[0]


def test_the_length_fills_the_time():
    plan = plan_of("dcgan", 64, findings(), CPU, 30, None)
    done = with_length(plan, 10, 60, 0.1, 10)
    train, every = done.settings["train"]["iterations"], done.settings["evaluation"]["every"]
    assert train == iterations_in(10, 60, 0.1, 10) == 4400  # (0.9 * 540 - 4 * 10) / 0.1, rounded down
    assert 60 + train * 0.1 + -(-train // every) * 10 < 600
    assert evaluations_in(10, 10) == 4
    assert evaluations_in(1, 60) == 1
    assert iterations_in(1, 60, 0.1, 0) == 0
    assert [decay_for(n) for n in (50, 200, 1000, 10_000)] == [0.9, 0.95, 0.99, 0.995]
    assert done.settings["tricks.moving_average"] == {"decay": 0.995}
    short = with_length(plan, 0.1, 0, 1, 1)
    assert short.settings["output"]["sample_every"] == short.settings["output"]["log_every"] == 1
    assert [round_down(n) for n in (0, 7, 99, 123, 18_399)] == [0, 7, 99, 120, 18_000]
    assert [largest_power(n) for n in (3, 16, 31, 32, 300)] == [16, 16, 16, 32, 256]


@pytest.mark.parametrize("system", SYSTEMS)
def test_recipes_of_all_systems_are_valid(system, tmp_path, folder):
    found = findings(800, classes=classes(400, 400))
    for few in (found, replace(found, grey=True, highest=300)):
        plan = with_length(plan_of(system, 64, few, GPU, 30, None), 30, 1, 0.1, 1)
        path = 'a"b\\c\x7fü\n'
        plan = plan.changed("data.path", path, "a reason")
        text = recipe_text(plan, "my recipe", ["first " * 40, "  second"])
        assert all(len(line) <= 120 for line in text.splitlines())
        raw = tomllib.loads(text)
        assert raw["data"]["path"] == path
        assert "# a reason" in text.splitlines()
        recipe = Recipe.from_dict(raw, source=tmp_path / "x.toml")
        assert recipe.use_of("generator").endswith(plan.settings["generator"]["use"])


def test_values_in_toml():
    for value in ("a\tb", 'q"', 1, 0.5, True, [0.5, 0.999], 2e-4, 1e-7):
        assert tomllib.loads(f"x = {value_text(value)}")["x"] == value


def run_command(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Fixed measurements instead of real ones: the time of an iteration, and the memory of a step."""
    monkeypatch.chdir(tmp_path)
    tried = []

    class Cost:
        seconds = 0.2

    def cost(recipe, seconds):
        tried.append(recipe.use_of("generator"))
        return Cost

    monkeypatch.setattr(new_recipe, "iteration_cost", cost)
    monkeypatch.setattr(new_recipe, "step_memory", lambda recipe: StepMemory(100, 8, 10**6))
    monkeypatch.setattr(new_recipe, "measured_times", lambda recipe: Times(1, Cost.seconds, 1))
    return tried, Cost, monkeypatch


def test_a_recipe_is_written_once_and_trains(folder, quick, tmp_path):
    said = run_command("photos", "--minutes", "20", "--device", "cpu").output
    assert "photos.toml: fastgan at 16x16, batches of 8, " in said
    assert "note: 12 different images are very few" in said
    assert "note: 1 files cannot be used. `gankit run` skips them" in said
    text = (tmp_path / "photos.toml").read_text()
    raw = tomllib.loads(text)
    assert raw["data"]["path"] == "photos"
    assert raw["train"]["device"] == "cpu"
    assert "#   classes      2: cats 7, dogs 6" in text
    with pytest.raises(InputError, match=r"--out photos\.toml: exists already; .* --force"):
        run_command("photos")
    quick[1].seconds = 100.0
    with pytest.raises(
        InputError, match="--minutes 20: no system fits; dcgan at 16x16 needs 500 iterations, and at most 10 fit"
    ):
        run_command("photos", "--force", "--minutes", "20")
    assert (tmp_path / "photos.toml").read_text() == text


def test_names_of_files_with_characters_that_toml_forbids(folder, quick, tmp_path):
    content = (folder / "cats" / "0.png").read_bytes()
    for name in (b"a\x01.png", b"b\x1b[31m.png", b"b\xff.png"):
        with open(os.path.join(os.fsencode(folder), b"cats", name), "wb") as file:
            file.write(content)
    said = run_command("photos", "--minutes", "20", "--device", "cpu").output
    assert "4: cats/a?.png, cats/b?[31m.png, cats/b?.png and 1 more" in said
    assert "cats/a?.png, cats/b?[31m.png, cats/b?.png and 1 more" in (tmp_path / "photos.toml").read_text()
    Recipe.load(tmp_path / "photos.toml")


def test_a_smaller_system_and_batch_if_time_and_memory_are_short(folder, quick):
    tried, cost, monkeypatch = quick
    monkeypatch.setattr(new_recipe, "step_memory", lambda recipe: StepMemory(100, 8, 170))
    said = run_command("photos", "--minutes", "4").output
    assert tried == ["fastgan", "dcgan"]
    assert "dcgan at 16x16, batches of 4, " in said
    cost.seconds = 2.0
    said = run_command("photos", "--minutes", "4", "--out", "b.toml", "--resolution", "16").output
    assert "note: dcgan needs 500 iterations, and fewer fit into 4 minutes: expect images that are blurred" in said
    monkeypatch.setattr(new_recipe, "step_memory", lambda recipe: StepMemory(100, 8, 100))
    with pytest.raises(InputError, match="no system fits; dcgan at 16x16 does not fit into the memory"):
        run_command("photos", "--minutes", "4", "--out", "c.toml")


def test_real_measurements(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_recipe, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(new_recipe, "TIMED_ITERATIONS", 2)
    monkeypatch.setattr(recipe_choice, "EVALUATION_COUNT", 20)
    for network in ("generator", "discriminator"):
        monkeypatch.setitem(SYSTEMS["fastgan"][network], "width", 8)
    run_command(folder, "--minutes", "30", "--resolution", "16", "--device", "cpu", "--out", "x.toml")
    assert tomllib.loads((tmp_path / "x.toml").read_text())["train"]["iterations"] >= 500
    with Session("x.toml") as session:
        session.train(1)


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, [], "path: .*pictures contains no images"),
        ({"a.png": 0}, [], "pictures: different usable images: 1; a GAN needs at least 2"),
        ({"a.png": 0, "b.png": 0}, [], "pictures: different usable images: 1"),
        ({"a.png": 0, "b.png": 1}, ["--minutes", "nan"], "--minutes nan: give a number of minutes above 0"),
        ({"a.png": 0, "b.png": 1}, ["--minutes", "1e308"], r"--minutes 1e\+308: give a number .* at most 525,600"),
        (
            {"a.png": 0, "b.png": 1},
            ["--out", "x.json"],
            r"--out x\.json: choose the name of a file that ends in \.toml",
        ),
        ({"a.png": 0, "b.png": 1}, ["--out", "no/x.toml"], r"--out no/x\.toml: there is no folder no"),
        ({"a.png": 0, "b.png": 1}, ["--device", "cuda:99"], "--device cuda:99: cannot be used here"),
    ],
)
def test_refusals(files, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name, number in files.items():
        image(number).save(tmp_path / "pictures" / name)
    with pytest.raises(InputError, match=message):
        run_command("pictures", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_images_beside_class_folders_are_used_without_classes(folder, quick, tmp_path):
    image(9).save(folder / "loose.png")
    assert "note: gankit new-recipe: data: path: " in run_command("photos", "--minutes", "20").output
    # The recipe itself has to leave the classes out too.
    assert tomllib.loads((tmp_path / "photos.toml").read_text())["data"]["classes"] is False


def test_this_machine():
    machine = this_machine("cpu")
    assert machine.gpu is None
    assert machine.cores >= 1
    assert GPU.describe() == "16 CPU cores, 64 GB of memory, NVIDIA H200"
    assert Machine(1, None).describe() == "1 CPU core, no GPU used"
