"""What measures are taken with: chunks, the protocol, what is kept, the budget, and a run that takes them."""

import json

import pytest
import torch

from gankit import InputError, Plugin, hookimpl
from gankit.evaluation.budget import Budget
from gankit.evaluation.comparison import CHUNK, Comparison, Extractor, Features, Samples, measured
from gankit.evaluation.evaluator import chosen
from gankit.evaluation.store import cache_folder, kept
from gankit.evaluation.target import evaluate
from gankit.runs import start
from gankit.testing import tiny_recipe
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
    measures = [
        lambda c: {"fake": c.fake_features.values.mean().item()},
        lambda c: {"real": c.real_features.values.mean().item(), "again": c.fake_features.values.sum().item()},
        lambda c: None,
    ]
    assert set(measured(measures, pair)) == {"fake", "real", "again"}
    assert sorted(calls) == [4, 5]
    assert pair.protocol == {"a": 1, "b": 2}


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


# What is kept


def test_what_was_computed_is_kept_by_all_that_it_depends_on(cache):
    made = []

    def compute():
        made.append(1)
        return {"x": torch.arange(3)}, {"accuracy": 0.5}

    for _ in range(2):
        tensors, facts = kept("thing", ["a", 1], compute)
        assert (tensors["x"].tolist(), facts) == ([0, 1, 2], {"accuracy": 0.5})
    assert len(made) == 1
    kept("thing", ["a", 2], compute)
    assert len(made) == 2
    assert cache_folder() == cache
    assert len(list(cache.iterdir())) == 2


def test_what_is_damaged_is_made_anew(cache):
    for damage in (lambda data: data[:20], lambda data: b"", lambda data: b"\xff" * len(data)):
        kept("thing", 1, lambda: ({"x": torch.ones(3)}, {}))
        (path,) = cache.iterdir()
        path.write_bytes(damage(path.read_bytes()))
        assert kept("thing", 1, lambda: ({"x": torch.zeros(3)}, {}))[0]["x"].sum() == 0
        path.unlink()


def test_where_nothing_can_be_written_it_is_computed_each_time(cache):
    cache.write_text("a file where the folder should be")
    assert kept("thing", 1, lambda: ({"x": torch.ones(1)}, {}))[0]["x"].item() == 1
    assert kept("thing", 1, lambda: ({"x": torch.zeros(1)}, {}))[0]["x"].item() == 0


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


# In a run


def run(tmp_path, name, changes=None, **more):
    told, said = Told(), []
    changes = {"evaluation": {"every": 1, "count": 16, "budget": 1.0}, "extractor": {"use": "tiny"}} | (changes or {})
    directory, _ = start(
        tiny_recipe({}, changes | {"measures": {"tiny": {}}} | more), tmp_path / name, told, said.append
    )
    return directory, told


def test_a_run_takes_its_measures_with_protocol_and_cost(tmp_path):
    directory, told = run(tmp_path, "run")
    rows = [row for row in directory.read_log() if "measures" in row]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert all(set(row) == {"iteration", "measures", "protocol", "seconds"} for row in rows)
    assert rows[0]["measures"].keys() == {"mean_distance"}
    assert rows[0]["protocol"] | {"real": "", "extractor": ""} == {
        "extractor": "",
        "real": "",
        "split": "all",
        "real images": 16,
        "generated images": 16,
        "seed": 0,
        "generator": "newest",
    }
    assert told.measures == (4, rows[-1]["measures"])
    assert told.advice == []


def test_that_getting_ready_took_long_is_no_advice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gankit.evaluation.evaluator.LONG", -1.0)
    directory, told = run(tmp_path, "run")
    assert "to get the measures ready took 0 s; what was computed is kept for later runs" in capsys.readouterr().err
    assert told.advice == []
    assert not any("advice" in row for row in directory.read_log())


def test_to_measure_changes_nothing_that_is_learnt(tmp_path):
    with_it, _ = run(tmp_path, "with")
    without, _ = start(tiny_recipe(), tmp_path / "without", Told(), lambda sentence: None)
    theirs = [directory.checkpoint(4) / "generator.safetensors" for directory in (with_it, without)]
    assert theirs[0].read_bytes() == theirs[1].read_bytes()


def test_beyond_the_budget_there_is_the_end_alone(tmp_path):
    directory, _ = run(tmp_path, "run", {"evaluation": {"every": 1, "count": 16, "budget": 1e-9}})
    assert [row["iteration"] for row in directory.read_log() if "measures" in row] == [4]


def test_a_run_without_measures_has_no_extractor(tmp_path):
    recipe = tiny_recipe()
    assert "extractor" not in recipe.parts
    assert "extractor" in tiny_recipe({}, {"measures": {"tiny": {}}, "extractor": {"use": "tiny"}}).parts


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
    changes = {"extractor": {"use": "tiny"}, "measures": {"tiny": {}}, "evaluation": {"count": 8}}
    directory, _ = start(tiny_recipe({Averaged: {}}, changes), tmp_path / "run", Told(), lambda sentence: None)
    row = next(row for row in directory.read_log() if "protocol" in row)
    assert row["protocol"]["generator"] == "averaged"


# gankit eval


def test_eval_measures_what_the_run_measured(gankit_run):
    directory, row = gankit_run
    again = evaluate(directory.path, None, {})
    assert again["measures"] == row["measures"]
    assert again["protocol"] == row["protocol"]
    assert again["iteration"] == row["iteration"]
    from_file = evaluate(directory.generator_file, None, {}, measures=["frechet_distance"])
    assert from_file["measures"] == {"frechet_distance": row["measures"]["frechet_distance"]}


@pytest.fixture
def gankit_run(tmp_path):
    """A run of the ring of Gaussians, with measures, and its last row of them."""
    from gankit import Recipe
    from gankit.bundled import find_recipe

    changes = [
        "train.iterations=3",
        "data.count=200",
        "output.sample_count=20",
        "evaluation.count=50",
        "extractor=pixels",
        "measures.frechet_distance={}",
        "measures.precision_recall={}",
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
    assert row["measures"]["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert (row["measures"]["precision"], row["measures"]["recall"]) == (1, 1)
    assert row["protocol"]["generator"] == "images at photos"
    assert row["iteration"] == 0


@pytest.mark.parametrize(
    ("target", "against", "changes", "said"),
    [
        ("photos", None, {}, "--against: say which real images"),
        ("nowhere", "shapes", {}, "there is no run, generator file or folder of images nowhere"),
        ("photos", "nowhere", {}, "--against nowhere: there is no such folder or file, and no such dataset; there are"),
        ("photos", "shapes", {"measures": {"nonsense": {}}}, "no measure called 'nonsense' is installed"),
        ("photos", "shapes", {"extractor": {"use": "pixls"}}, "did you mean 'pixels'"),
        ("photos", "shapes", {"evaluation": {"cuont": 3}}, "did you mean 'count'"),
        ("photos", "gaussian_ring", {}, "for points take extractor"),
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
    directory.keep_evaluation(evaluate(directory.path, None, {"evaluation": {"count": 20}}))
    (row,) = [json.loads(line) for line in directory.evaluations_file.read_text().splitlines()]
    assert row["protocol"]["generated images"] == 20


def test_a_strangers_file_names_no_code_and_asks_for_no_network(gankit_run, tmp_path):
    """A generator file says what to measure it with; what it says is followed only where that is harmless."""
    from gankit.evaluation.target import harmless
    from gankit.sampling import Sampler, refuse_strange

    directory, _ = gankit_run
    sampler = Sampler.load(directory.generator_file)
    sampler.card["recipe"]["extractor"] = {"use": "/somewhere/evil.py:Extractor"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gankit.evaluation.target.sampler_of", lambda *_: sampler)
        with pytest.raises(
            InputError, match=r"wants to import /somewhere/evil\.py:Extractor; if you trust it, say --trust"
        ):
            evaluate(directory.generator_file, None, {})
        # What the user names in its place is the user's.
        assert evaluate(directory.generator_file, None, {"extractor": {"use": "pixels"}})["measures"]
    assert harmless({"data": {"use": "mnist", "download": True}, "seed": 1}) == {"data": {"use": "mnist"}, "seed": 1}
    refuse_strange(tmp_path, ["plain", "name@gankit"])


class Draws(Plugin):
    """Draws random numbers to measure. Source: none."""

    name, kind = "draws", "measure"

    @hookimpl
    def measure(self, comparison):
        return {"drawn": torch.rand(1).item()}


def test_what_a_measure_draws_shifts_nothing(tmp_path):
    changes = {"extractor": {"use": "tiny"}, "evaluation": {"every": 1, "count": 8, "budget": 1.0}}
    runs = [tiny_recipe({Draws: {}}, changes), tiny_recipe()]
    ends = [start(r, tmp_path / str(n), Told(), lambda sentence: None)[0].checkpoint(4) for n, r in enumerate(runs)]
    assert (ends[0] / "random.safetensors").read_bytes() == (ends[1] / "random.safetensors").read_bytes()
    assert (ends[0] / "generator.safetensors").read_bytes() == (ends[1] / "generator.safetensors").read_bytes()
