"""What measures are taken with: chunks, the protocol, what is kept, the budget, and a run that takes them."""

import json

import pytest
import torch

from gankit import InputError, Plugin, Settings, hookimpl
from gankit.evaluation.budget import Budget
from gankit.evaluation.evaluator import chosen
from gankit.evaluation.feature_cache import cache_folder, disk_cache
from gankit.evaluation.standalone import evaluate
from gankit.plugin.comparison import Comparison, Samples
from gankit.plugin.extractor import CHUNK, Extractor, Features
from gankit.report.page import measured
from gankit.testing import tiny_recipe
from gankit.training.launch import start
from tests.gankit.conftest import Told


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Comparison


def test_an_extractor_sees_chunks_and_gives_all():
    seen = []

    def look(images):
        seen.append(len(images))
        return Features(images.flatten(1), images.flatten(1)[:, :2])

    images = torch.rand(CHUNK + 3, 1, 2, 2)
    found = Extractor({}, look)(images)
    assert seen == [CHUNK, 3]
    assert torch.equal(found.values, images.flatten(1))
    assert found.logits.shape == (CHUNK + 3, 2)


def test_features_are_computed_once_for_all_measures():
    calls = []

    def look(images):
        calls.append(len(images))
        return Features(images.flatten(1))

    pair = Comparison(
        Samples(torch.rand(5, 1, 1, 2)), Samples(torch.rand(4, 1, 1, 2)), Extractor({"a": 1}, look), {"b": 2}
    )
    metrics = {
        "one": lambda c: {"fake": c.fake_features.values.mean().item()},
        "two": lambda c: {"real": c.real_features.values.mean().item(), "again": c.fake_features.values.sum().item()},
        "three": lambda c: None,
    }
    found = measured(metrics, pair)
    assert found.said_by == {"fake": "one", "real": "two", "again": "two"}
    assert (set(found.numbers), found.silent, found.failed) == ({"fake", "real", "again"}, ["three"], {})
    assert sorted(calls) == [4, 5]
    assert pair.protocol == {"a": 1, "b": 2}


def nothing():
    images = Samples(torch.rand(2, 1, 1, 1))
    return Comparison(images, images, Extractor({}, lambda images: Features(images.flatten(1))), {})


def test_numbers_of_one_name_are_told_apart_by_their_places():
    found = measured({"metrics.a": lambda c: {"x": 1.0}, "metrics.b": lambda c: {"x": 2.0}}, nothing())
    assert found.numbers == {"x": 1.0, "metrics.b.x": 2.0}
    assert found.said_by == {"x": "metrics.a", "metrics.b.x": "metrics.b"}


def test_a_measure_that_cannot_be_taken_leaves_the_others_be():
    def fails(comparison):
        raise InputError("too few images")

    found = measured({"metrics.a": fails, "metrics.b": lambda c: {"x": 2.0}}, nothing())
    assert found.numbers == {"x": 2.0}
    with pytest.raises(InputError, match=r"measures\.a: too few images"):
        found.or_refused()


def test_a_digest_tells_images_apart():
    images, labels = torch.randint(0, 256, (4, 1, 2, 2), dtype=torch.uint8), torch.arange(4)
    same = Samples(images.clone(), labels.clone()).digest()
    assert Samples(images, labels).digest() == same
    others = [
        Samples(images.flip(0), labels),
        Samples(images, labels.flip(0)),
        Samples(images),
        Samples(images.view(4, 1, 1, 4), labels),
        Samples(images.float(), labels),
    ]
    assert len({other.digest() for other in others} | {same}) == 6


def test_images_are_chosen_by_the_seed_alone():
    images, labels = torch.arange(20).view(20, 1, 1, 1), torch.arange(20)
    one, same, other = (chosen(images, labels, 5, seed) for seed in (0, 0, 1))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(one.images.flatten(), one.labels)
    assert sorted(chosen(images, labels, 50, 0).labels.tolist()) == list(range(20))
    names = tuple("abcdefghijklmnopqrst")
    assert chosen(images, labels, 5, 0, names).class_names == names
    assert chosen(images, None, 5, 0, names).class_names == ()


# What is kept


def test_what_was_computed_is_kept_by_all_that_it_depends_on(cache):
    made = []

    def compute():
        made.append(1)
        return {"x": torch.arange(3)}, {"accuracy": 0.5}

    for _ in range(2):
        tensors, facts = disk_cache("thing", ["a", 1], compute)
        assert (tensors["x"].tolist(), facts) == ([0, 1, 2], {"accuracy": 0.5})
    assert len(made) == 1
    disk_cache("thing", ["a", 2], compute)
    assert len(made) == 2
    assert cache_folder() == cache
    assert len(list(cache.iterdir())) == 2


def test_what_is_damaged_is_made_anew(cache):
    for damage in (lambda data: data[:20], lambda data: b"", lambda data: b"\xff" * len(data)):
        disk_cache("thing", 1, lambda: ({"x": torch.ones(3)}, {}))
        (path,) = cache.iterdir()
        path.write_bytes(damage(path.read_bytes()))
        assert disk_cache("thing", 1, lambda: ({"x": torch.zeros(3)}, {}))[0]["x"].sum() == 0
        path.unlink()


def test_where_nothing_can_be_written_it_is_computed_each_time(cache):
    cache.write_text("a file where the folder should be")
    assert disk_cache("thing", 1, lambda: ({"x": torch.ones(1)}, {}))[0]["x"].item() == 1
    assert disk_cache("thing", 1, lambda: ({"x": torch.zeros(1)}, {}))[0]["x"].item() == 0


def compute_slowly(cache, made):
    """In a process of its own."""
    import os
    import time

    os.environ["GANKIT_CACHE"] = str(cache)

    def compute():
        with open(made, "a") as file:
            file.write("made\n")
        time.sleep(0.3)
        return {"x": torch.ones(3)}, {}

    assert disk_cache("thing", "slow", compute)[0]["x"].sum() == 3


def test_of_several_processes_one_computes_and_the_others_wait(cache, tmp_path):
    from multiprocessing import get_context

    context = get_context("fork")
    processes = [context.Process(target=compute_slowly, args=(cache, tmp_path / "made")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "made\n"
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_who_fails_to_compute_lets_the_next_one_try(cache):
    with pytest.raises(ZeroDivisionError):
        disk_cache("thing", 1, lambda: 1 / 0)
    assert disk_cache("thing", 1, lambda: ({"x": torch.ones(1)}, {}))[0]["x"].item() == 1


LOOKS = """
from gankit import Extractor, Features, Plugin, Settings, hookimpl

class Looks(Plugin):
    name, kind = "looks", "extractor"

    class Config(Settings):
        times: float = 1.0

    @hookimpl
    def build_extractor(self):
        return Extractor({"extractor": "looks"}, lambda images: Features(images.flatten(1) / 255 * SCALE))
"""


def test_features_are_kept_for_as_long_as_the_extractor_is_the_same(photos, tmp_path):
    """Features of a file that has changed since, or with other settings, are not those that it gives now."""
    file = tmp_path / "looks.py"

    def measure(scale, **settings):
        file.write_text(LOOKS.replace("SCALE", str(scale)))
        changes = {"extractor": {"use": f"{file}:Looks", **settings}, "data": {"resolution": 8}}
        return evaluate(photos, str(photos), changes, metrics=["frechet_distance"])

    before, after = measure("1.0"), measure("100.0")
    assert before["metrics"] == pytest.approx({"frechet_distance": 0}, abs=1e-3)
    assert after["metrics"]["frechet_distance"] == pytest.approx(0, abs=1)
    assert before["protocol"]["extractor source"] != after["protocol"]["extractor source"]
    one, other = (measure("self.config.times", times=times) for times in (1.0, 30.0))
    assert one["metrics"] == pytest.approx({"frechet_distance": 0}, abs=1e-3)
    assert other["metrics"]["frechet_distance"] == pytest.approx(0, abs=1)


# The budget


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(("share", "cost"), [(0.05, 1.0), (0.05, 30.0), (0.5, 3.0), (0.01, 2.0)])
def test_evaluations_stay_within_their_share(share, cost):
    """An iteration a second; an evaluation is asked for after each."""
    clock = Clock()
    budget = Budget(share, clock)
    budget.expected = cost
    taken = 0
    for _ in range(3000):
        clock.now += 1
        if budget.allows():
            with budget.evaluation():
                clock.now += cost
            taken += 1
        assert budget.spent <= share * clock.now + 1e-9
    # And the share is used, as far as whole evaluations go.
    assert budget.spent + cost > 0.95 * share * clock.now
    assert taken


def test_one_that_got_dearer_is_paid_back():
    clock = Clock()
    budget = Budget(0.1, clock)
    budget.expected = 1.0
    clock.now = 20
    assert budget.allows()
    with budget.evaluation():
        clock.now += 10
    waited = 0
    while not budget.allows():
        clock.now += 1
        waited += 1
    assert budget.spent + budget.expected <= 0.1 * (clock.now + budget.expected)
    assert waited > 100


def test_getting_ready_is_charged_and_delays_the_first_evaluation():
    clock = Clock()
    budget = Budget(0.1, clock)
    with budget.charged():
        clock.now += 10
    budget.expected = 1.0
    clock.now = 108
    assert not budget.allows()
    clock.now = 110
    assert budget.allows()
    assert (budget.spent, budget.expected) == (10, 1)


def test_what_is_computed_once_is_counted_and_not_expected_again():
    clock = Clock()
    budget = Budget(0.5, clock)
    with budget.evaluation():
        clock.now += 2
        with budget.once():
            clock.now += 30
    assert (budget.spent, budget.expected) == (32, 2)
    with budget.evaluation():
        clock.now += 3
    assert (budget.spent, budget.expected) == (35, 3)


def test_the_budget_tells_what_it_came_to():
    clock = Clock()
    budget = Budget(0.05, clock)
    with budget.evaluation():
        clock.now += 4
    clock.now = 100
    assert budget.account() == {"seconds": 4, "share": 0.04, "left_out": 0}
    assert budget.in_words() == "evaluation took 4.0 s in all, 4.0% of the time"
    budget.left_out = 2
    assert budget.in_words().endswith("; 2 were left out for the budget of 5%")


def test_a_budget_that_is_none_is_told_how_to_say_one():
    from gankit.recipe.settings import Evaluation

    with pytest.raises(ValueError, match=r'as "5%" or as 0.05'):
        Evaluation(budget="5 percent")


@pytest.mark.parametrize(("given", "share"), [("5%", 0.05), ("2.5 %", 0.025), ("100%", 1.0), (0.2, 0.2)])
def test_a_budget_may_be_said_in_percent(given, share):
    assert tiny_recipe({}, {"evaluation": {"budget": given}}).evaluation.budget == share


@pytest.mark.parametrize("given", ["0%", "101%", "5", "5%%", "-5%", "a lot"])
def test_a_budget_is_a_share(given):
    with pytest.raises(InputError, match=r"evaluation\.budget"):
        tiny_recipe({}, {"evaluation": {"budget": given}})


# In a run


def run(tmp_path, name, changes=None, **more):
    told, said = Told(), []
    changes = {"evaluation": {"every": 1, "count": 16, "budget": 1.0}, "extractor": {"use": "tiny"}} | (changes or {})
    directory, _ = start(
        tiny_recipe({}, changes | {"metrics": {"tiny": {}}} | more), tmp_path / name, told, said.append
    )
    return directory, told


def test_a_run_takes_its_measures_with_protocol_and_cost(tmp_path):
    directory, told = run(tmp_path, "run")
    rows = [row for row in directory.read_log() if "metrics" in row]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert all(set(row) == {"iteration", "metrics", "protocol", "settings", "seconds"} for row in rows)
    assert rows[0]["metrics"].keys() == {"mean_distance"}
    assert rows[0]["protocol"] | {"real": "", "extractor": ""} == {
        "extractor": "",
        "real": "",
        "split": "all",
        "real images": 16,
        "generated images": 16,
        "seed": 0,
        "generator": "newest",
        "generated resize": "none",
        "labels": "as in the data",
    }
    assert rows[0]["settings"] == {}, "the measure has none"
    assert told.metrics == (4, rows[-1]["metrics"])
    assert told.advice == []


def test_that_getting_ready_took_long_is_no_advice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gankit.evaluation.evaluator.LONG", -1.0)
    directory, told = run(tmp_path, "run")
    assert "to get the measures ready took 0 s; what was computed is kept for later runs" in capsys.readouterr().err
    assert told.advice == []
    assert not any("warning" in row for row in directory.read_log())


def test_to_measure_changes_nothing_that_is_learnt(tmp_path):
    with_it, _ = run(tmp_path, "with")
    without, _ = start(tiny_recipe(), tmp_path / "without", Told(), lambda sentence: None)
    theirs = [directory.checkpoint(4) / "generator.safetensors" for directory in (with_it, without)]
    assert theirs[0].read_bytes() == theirs[1].read_bytes()


def test_beyond_the_budget_there_is_the_end_alone(tmp_path):
    directory, _ = run(tmp_path, "run", {"evaluation": {"every": 1, "count": 16, "budget": 1e-9}})
    assert [row["iteration"] for row in directory.read_log() if "metrics" in row] == [4]
    ended = directory.read_last_environment()["ended"]["evaluation"]
    assert ended["left_out"] == 3, "the last one always takes place"
    assert ended["seconds"] > 0
    assert 0 < ended["share"] <= 1


def test_a_run_without_measures_has_no_extractor(tmp_path):
    recipe = tiny_recipe()
    assert "extractor" not in recipe.components
    assert "extractor" in tiny_recipe({}, {"metrics": {"tiny": {}}, "extractor": {"use": "tiny"}}).parts


class Averaged(Plugin):
    """Another generator. Source: none."""

    name = "averaged"

    @hookimpl
    def wrap_network(self, player, network):
        self.other = network
        return None

    @hookimpl
    def sampling_generator(self, run):
        import copy

        return copy.deepcopy(run.generator)


def test_the_protocol_says_which_generator(tmp_path):
    changes = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 8}}
    directory, _ = start(tiny_recipe({Averaged: {}}, changes), tmp_path / "run", Told(), lambda sentence: None)
    row = next(row for row in directory.read_log() if "protocol" in row)
    assert row["protocol"]["generator"] == "averaged"


# gankit eval


def test_eval_measures_what_the_run_measured(gankit_run):
    directory, row = gankit_run
    again = evaluate(directory.path, None, {})
    assert again["metrics"] == row["metrics"]
    assert again["protocol"] == row["protocol"]
    assert again["iteration"] == row["iteration"]
    from_file = evaluate(directory.generator_file, None, {}, metrics=["frechet_distance"])
    assert from_file["metrics"] == {"frechet_distance": row["metrics"]["frechet_distance"]}


@pytest.fixture
def gankit_run(tmp_path):
    """A run of the ring of Gaussians, with measures, and its last row of them."""
    from gankit import Recipe
    from gankit.recipe.bundled import find_recipe

    changes = [
        "train.iterations=3",
        "data.count=200",
        "output.sample_count=20",
        "evaluation.count=50",
        "extractor=pixels",
        "metrics.frechet_distance={}",
        "metrics.precision_recall={}",
    ]
    recipe = Recipe.load(find_recipe("gaussian_ring"), changes)
    directory, _ = start(recipe, tmp_path / "run", Told(), lambda sentence: None)
    return directory, [row for row in directory.read_log() if "protocol" in row][-1]


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (9 + number, 12), (20 * number, 100, 3)).save(folder / f"{number}.png")
    return folder


def test_eval_of_a_folder_against_a_folder(photos):
    changes = {"extractor": {"use": "pixels"}, "data": {"resolution": 8}}
    row = evaluate(photos, str(photos), changes)
    assert row["metrics"]["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert (row["metrics"]["precision"], row["metrics"]["recall"]) == (1, 1)
    assert (row["protocol"]["generator"], row["target"]) == ("images", str(photos))
    assert row["protocol"]["generated resize"] == "upright by EXIF, centre square, over white, Lanczos"
    assert row["iteration"] == 0
    elsewhere = photos.rename(photos.with_name("elsewhere"))
    assert evaluate(elsewhere, str(elsewhere), changes)["protocol"] == row["protocol"]


@pytest.mark.parametrize(
    ("target", "against", "changes", "said"),
    [
        ("photos", None, {}, "--against: say which real images"),
        ("nowhere", "shapes", {}, "there is no run, generator file or folder of images nowhere"),
        ("photos", "nowhere", {}, "--against nowhere: there is no such folder or file, and no such dataset; there are"),
        ("photos", "shapes", {"metrics": {"nonsense": {}}}, "no measure called 'nonsense' is installed"),
        ("photos", "shapes", {"extractor": {"use": "pixls"}}, "did you mean 'pixels'"),
        ("photos", "shapes", {"evaluation": {"cuont": 3}}, "did you mean 'count'"),
        ("photos", "gaussian_ring", {}, "photos holds pictures, and gaussian_ring gives points; name pictures"),
        ("photos", "shapes", {"extractr": {"x": 1}}, "extractr: unknown key; did you mean 'extractor'? there are data"),
        ("photos", "shapes", {"count": 3}, "count: unknown key; did you mean 'evaluation.count'?"),
    ],
)
def test_what_eval_cannot_use_is_a_sentence(photos, monkeypatch, target, against, changes, said):
    monkeypatch.chdir(photos.parent)
    from pathlib import Path

    with pytest.raises(InputError) as error:
        evaluate(Path(target), against, changes)
    assert said in str(error.value)


def test_rows_are_json(gankit_run):
    directory, _ = gankit_run
    directory.log_evaluation(evaluate(directory.path, None, {"evaluation": {"count": 20}}))
    (row,) = [json.loads(line) for line in directory.evaluations_file.read_text().splitlines()]
    assert row["protocol"]["generated images"] == 20


def test_a_strangers_file_names_no_code_and_asks_for_no_network(gankit_run, tmp_path):
    """A generator file says what to measure it with; what it says is followed only where that is harmless."""
    from gankit.evaluation.standalone import without_download
    from gankit.sampling.generator_file import refuse_untrusted
    from gankit.sampling.sampler import Sampler

    directory, _ = gankit_run
    sampler = Sampler.load(directory.generator_file)
    sampler.card["recipe"]["extractor"] = {"use": "/somewhere/evil.py:Extractor"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gankit.evaluation.standalone.sampler_of", lambda *_: sampler)
        with pytest.raises(
            InputError, match=r"wants to import /somewhere/evil\.py:Extractor; if you trust it, say --trust"
        ):
            evaluate(directory.generator_file, None, {})
        # What the user names in its place is the user's.
        assert evaluate(directory.generator_file, None, {"extractor": {"use": "pixels"}})["metrics"]
    asking = {"use": "mnist", "download": True, "inner": {"download": True}}
    assert without_download(asking) == {"use": "mnist", "inner": {}}
    refuse_untrusted(tmp_path, ["plain", "name@gankit"])


class Draws(Plugin):
    """Draws random numbers to measure. Source: none."""

    name, kind = "draws", "metric"

    @hookimpl
    def compute_metrics(self, comparison):
        return {"drawn": torch.rand(1).item()}


def test_what_a_measure_draws_shifts_nothing(tmp_path):
    changes = {"extractor": {"use": "tiny"}, "evaluation": {"every": 1, "count": 8, "budget": 1.0}}
    runs = [tiny_recipe({Draws: {}}, changes), tiny_recipe()]
    ends = [start(r, tmp_path / str(n), Told(), lambda sentence: None)[0].checkpoint(4) for n, r in enumerate(runs)]
    assert (ends[0] / "random.safetensors").read_bytes() == (ends[1] / "random.safetensors").read_bytes()
    assert (ends[0] / "generator.safetensors").read_bytes() == (ends[1] / "generator.safetensors").read_bytes()


def test_both_sides_know_their_classes_and_labels_are_those_of_the_real_images(tmp_path):
    """A generator that learnt from uneven classes is asked for them as unevenly."""
    seen = []

    class Looks(Plugin):
        """Keeps what it is shown. Source: none."""

        name, kind = "looks", "metric"

        @hookimpl
        def compute_metrics(self, comparison):
            seen.append((comparison.real, comparison.fake, comparison.protocol["labels"]))
            return {"seen": 1.0}

    def look(**train):
        changes = {"data": {"classes": 3, "count": 32}, "extractor": {"use": "tiny"}, "evaluation": {"count": 20}}
        recipe = tiny_recipe({Looks: {}}, changes | {"train": train})
        start(recipe, tmp_path / str(len(seen)), Told(), lambda sentence: None)
        return seen[-1]

    real, fake, labels = look()
    assert real.class_names == fake.class_names == ("a", "b", "c")
    assert torch.equal(real.labels, fake.labels)
    assert labels == "as in the data"
    _, fake, labels = look(class_balanced=True, batch_size=9)
    assert torch.equal(fake.labels, torch.arange(20) % 3)
    assert labels == "even shares"


def test_of_classes_with_other_names_all_are_asked_for_alike():
    from types import SimpleNamespace

    from gankit.evaluation.evaluator import labels_asked

    def asked(names, real):
        spec = SimpleNamespace(class_balanced=False)
        sampler = SimpleNamespace(class_names=names, spec=spec, labels=lambda count: torch.arange(count) % 2)
        return labels_asked(sampler, 5, real).tolist()

    real = Samples(torch.zeros(3, 1, 1, 1), torch.tensor([1, 1, 0]), ("a", "b"))
    assert asked(("a", "b"), real) == [1, 1, 0, 1, 1]
    assert asked(("b", "a"), real) == [0, 1, 0, 1, 0]
    assert asked(("a", "b"), Samples(torch.zeros(3, 1, 1, 1))) == [0, 1, 0, 1, 0]


class Choosy(Plugin):
    """Cannot be taken of the first generators. Source: none."""

    name, kind = "choosy", "metric"

    class Config(Settings):
        patience: int = 0

    def __init__(self, config):
        super().__init__(config)
        self.calls = 0

    @hookimpl
    def compute_metrics(self, comparison):
        self.calls += 1
        if self.calls < 4:
            raise InputError("these images are all alike")
        return {"chosen": 1.0}


def test_what_cannot_be_measured_is_said_once_and_the_run_goes_on(tmp_path):
    changes = {"extractor": {"use": "tiny"}, "evaluation": {"every": 1, "count": 40, "budget": 1.0}}
    told = Told()
    recipe = tiny_recipe({Choosy: {}}, changes | {"train": {"iterations": 6}, "data": {"count": 64}})
    directory, outcome = start(recipe, tmp_path / "run", told, lambda sentence: None)
    assert outcome.iterations == 6
    assert told.advice == ["metrics.choosy: these images are all alike"]
    # One trial, two evaluations in vain.
    taken = [row for row in directory.read_log() if "metrics" in row]
    assert [(row["iteration"], bool(row["metrics"])) for row in taken] == [(i, i > 2) for i in range(1, 7)]
    assert directory.read_log()[-1]["settings"] == {"chosen": {"choosy.patience": 0}}


def test_what_cannot_be_measured_is_an_error_where_nothing_else_is_wanted():
    from gankit import Session

    changes = {"extractor": {"use": "tiny"}, "evaluation": {"count": 8}}
    with Session(tiny_recipe({Choosy: {}}, changes)) as session, pytest.raises(InputError, match=r"measures\.choosy"):
        session.metrics()


def test_images_are_read_once_though_measures_look_at_them_too(tmp_path, monkeypatch):
    from gankit.testing.tiny_plugins import TinyData, TinyExtractor

    reads, real_read, real_build = [], TinyData.read, TinyExtractor.build_extractor

    def read(self):
        reads.append(1)
        return real_read(self)

    def build(self, dataset):
        dataset.load()
        return real_build(self, dataset)

    monkeypatch.setattr(TinyData, "read", read)
    monkeypatch.setattr(TinyExtractor, "build_extractor", hookimpl(build))
    run(tmp_path, "run")
    assert len(reads) == 1


class Lacking(Plugin):
    """Has no network to look through. Source: none."""

    name, kind = "lacking", "extractor"

    @hookimpl
    def build_extractor(self):
        raise InputError("path: there is no net.pt")


def test_what_the_extractor_lacks_is_known_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"extractor: path: there is no net\.pt"):
        start(tiny_recipe({Lacking: {}}, {"metrics": {"tiny": {}}}), tmp_path / "run", Told(), lambda sentence: None)
    assert not (tmp_path / "run").exists()
    run(tmp_path, "run")


def test_images_that_cannot_be_compared_break_no_run_off(tmp_path, monkeypatch):
    def refused(*arguments, **named):
        raise InputError("one image cannot be compared")

    monkeypatch.setattr("gankit.evaluation.evaluator.Comparison", refused)
    directory, told = run(tmp_path, "run")
    assert told.outcome.iterations == 4
    assert told.advice == ["metrics.tiny: one image cannot be compared"]
    assert not any(row["metrics"] for row in directory.read_log() if "metrics" in row)


def test_the_end_of_a_run_says_what_evaluation_took(tmp_path):
    said = []
    changes = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 8}}
    start(tiny_recipe({}, changes), tmp_path / "with", Told(), said.append)
    assert [sentence for sentence in said if sentence.startswith("evaluation took ")] == [said[-1]]
    start(tiny_recipe(), tmp_path / "without", Told(), said.append)
    assert len([sentence for sentence in said if sentence.startswith("evaluation took ")]) == 1


def test_measures_may_look_at_all_real_images_whose_features_are_computed_once(tmp_path, monkeypatch):
    from gankit.evaluation import evaluator

    seen, calls, real_features_of = [], [], evaluator.features_of

    class Everything(Plugin):
        """Looks at all real images. Source: none."""

        name, kind = "everything", "metric"

        @hookimpl
        def compute_metrics(self, comparison):
            seen.append((comparison.real_is_whole_dataset, len(comparison.dataset_features.values)))
            return {"seen": 1.0}

    def plural(of, *more):
        calls.append(len(of.images))
        return real_features_of(of, *more)

    monkeypatch.setattr(evaluator, "features_of", plural)
    changes = {"extractor": {"use": "tiny"}, "data": {"count": 64}}
    for count in (40, 64):
        few = {"evaluation": {"every": 1, "count": count, "budget": 1.0}}
        start(tiny_recipe({Everything: {}}, changes | few), tmp_path / str(count), Told(), lambda sentence: None)
    # A trial and four evaluations each.
    assert seen == [(False, 64)] * 5 + [(True, 32)] + [(True, 64)] * 4
    assert calls == [40, 64, 64]
