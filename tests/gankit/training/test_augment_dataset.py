"""Generated samples that enlarge a dataset: counts, filters, origin of each sample, and refusals."""

import json
import random
from types import SimpleNamespace

import pytest
import torch

from gankit import Extractor, Features, InputError, Plugin, Sampler, VectorCondition, augment_dataset, hookimpl
from gankit.images.grid import to_bytes
from gankit.images.io import read_image
from gankit.runtime.rng import derived_seed
from gankit.training.assembly import assemble
from gankit.training.augment_dataset import REJECTED, Candidates, best, folder_names, pool_size, requests_of
from gankit.training.state import load_networks


@pytest.fixture
def trained(train_toy):
    return train_toy()


def files(folder):
    """Return the bytes of each file by its path in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def provenance(folder):
    return json.loads((folder / "provenance.json").read_text())


def drawn_naively(trained, name, count, seed=0):
    """Return the first `count` samples of a class, drawn with public functions only."""
    sampler, samples = Sampler.load(trained.path, "cpu"), []
    for draw in range(-(-count // 64)):
        own = derived_seed(seed, f"augment/{name}/{draw}")
        condition = sampler.conditions(64, {"class": name}, own)
        z = sampler.latent(64, condition, own)
        samples += torch.cat(list(sampler.outputs(z, condition, derived_seed(own, "noise")))).unbind()
    return torch.stack(samples[:count])


def test_each_class_gets_a_folder_with_the_requested_number(trained, tmp_path):
    result = augment_dataset(trained.path, tmp_path / "more", 70)
    assert result.kept == result.drawn == {"a": 70, "b": 70}
    for name in "ab":
        images = drawn_naively(trained, name, 70)
        paths = sorted((tmp_path / "more" / name).iterdir())
        assert [path.name for path in paths] == [f"generated_{number:06d}.png" for number in range(70)]
        pixels = [list(read_image(path).tobytes()) for path in paths]
        assert pixels == [one.flatten().tolist() for one in to_bytes(images)]


def test_the_origin_of_each_sample_is_recorded(trained, tmp_path):
    augment_dataset(trained.path, tmp_path / "more", 66, seed=5)
    found = provenance(tmp_path / "more")
    assert (found["seed"], found["filter"], found["generator"]["iteration"]) == (5, {"name": None}, 6)
    assert found["classes"]["b"] == {"folder": "b", "drawn": 66, "kept": 66}
    assert {row["file"] for row in found["samples"]} == set(files(tmp_path / "more")) - {"provenance.json"}
    assert [row["class"] for row in found["samples"]] == ["a"] * 66 + ["b"] * 66
    one = found["samples"][-1]
    assert (one["row"], one["score"]) == (1, None)
    sampler = Sampler.load(trained.path, "cpu")
    condition = torch.ones(64, dtype=torch.int64)
    z = sampler.latent(64, condition, one["seed"])
    image = next(iter(sampler.outputs(z, condition)))[one["row"]]  # the toy generator has no noise
    assert list(read_image(tmp_path / "more" / one["file"]).tobytes()) == to_bytes(image).flatten().tolist()


def test_the_seed_determines_all_bytes(trained, tmp_path):
    for out, count, seed in (("one", 5, 1), ("two", 5, 1), ("other", 5, 2), ("longer", 8, 1)):
        augment_dataset(trained.path, tmp_path / out, count, "discriminator", keep=1.0, seed=seed)
    one, two, other, longer = (files(tmp_path / out) for out in ("one", "two", "other", "longer"))
    assert one == two
    assert all(other[name] != one[name] for name in one)
    assert {name: longer[name] for name in one if name != "provenance.json"}.items() <= one.items()


@pytest.mark.parametrize(("count", "keep"), [(30, 0.3), (64, 1.0), (1, 0.01)])
def test_the_discriminator_keeps_exactly_the_top_share(trained, tmp_path, count, keep):
    result = augment_dataset(trained.path, tmp_path / "more", count, "discriminator", keep)
    pool = {30: 100, 64: 64, 1: 100}[count]
    assert result.drawn == {"a": pool, "b": pool}
    run = assemble(trained.run.recipe)
    load_networks(run, trained.path / "checkpoints" / "000006")
    run.discriminator.eval()
    for label, name in enumerate("ab"):
        images = drawn_naively(trained, name, pool)
        with torch.no_grad():
            logits = [float(run.discriminator(one[None], torch.tensor([label]))[0]) for one in images]
        top = sorted(range(pool), key=lambda number: -logits[number])[:count]
        rows = [row for row in provenance(tmp_path / "more")["samples"] if row["class"] == name]
        assert [row["file"] for row in rows] == [f"{name}/generated_{number:06d}.png" for number in sorted(top)]
        assert [row["score"] for row in rows] == pytest.approx([logits[number] for number in sorted(top)], abs=1e-5)


def scored(scores, size):
    """Return candidates with the given scores, in parts of `size` samples."""
    numbers = torch.arange(len(scores))
    column = numbers[:, None].float()
    every = Candidates(column, numbers, column, numbers, torch.tensor(scores))
    return [every.rows(part) for part in numbers.split(size)]


@pytest.mark.parametrize("seed", range(20))
def test_the_best_are_those_of_a_naive_sort(seed):
    draw = random.Random(seed)
    scores = [draw.choice([REJECTED, 0.0, 1.0, draw.random()]) for _ in range(100)]
    pool = draw.randint(1, 40)
    count = draw.randint(1, pool)
    accepted = [number for number, score in enumerate(scores) if score > REJECTED][:pool]
    expected = sorted(accepted, key=lambda number: (-scores[number], number))[:count]
    advanced = []
    kept, drawn = best(scored(scores, draw.randint(1, 9)), pool, count, "a", advanced.append)
    assert kept.numbers.tolist() == sorted(expected)
    assert kept.samples.flatten().tolist() == sorted(expected)
    assert drawn == accepted[-1] + 1
    assert sum(advanced) == pool


def test_the_pool_is_the_smallest_number_with_the_share():
    sizes = {(500, 0.5): 1000, (3, 0.3): 10, (1, 1.0): 1, (10, 0.3): 34, (7, 0.1): 70}
    assert {given: pool_size(*given) for given in sizes} == sizes


def logit_of_b(images):
    """Return the logit of class b: whether the upper half of an image is brighter than the lower one."""
    halves = (images.double() / 127.5 - 1).unflatten(2, (2, -1)).mean((1, 3, 4))
    return 10 * (halves[:, 0] - halves[:, 1])


class Halves(Plugin):
    """Classifier with the logits of `logit_of_b`. The classes are in another order."""

    name, kind = "halves", "extractor"

    @hookimpl
    def build_extractor(self, dataset):
        def extract(images):
            logit = logit_of_b(images)
            return Features(logit[:, None], torch.stack([logit, 0 * logit], 1))

        return Extractor({"extractor": "halves"}, extract, dataset.class_names[::-1])


class Blind(Plugin):
    """Extractor without classes."""

    name, kind = "blind", "extractor"

    @hookimpl
    def build_extractor(self):
        return Extractor({"extractor": "blind"}, lambda images: Features(images.flatten(1).float()))


def test_the_classifier_keeps_the_samples_of_the_requested_class(trained, tmp_path, shelf):
    shelf.add(Halves, "classifier")
    confidence = 0.52
    result = augment_dataset(trained.path, tmp_path / "more", 40, "classifier", confidence=confidence)
    found = provenance(tmp_path / "more")
    assert found["filter"] == {"name": "classifier", "confidence": confidence, "extractor": "halves"}
    for name in "ab":
        images = to_bytes(drawn_naively(trained, name, result.drawn[name]))
        logit = logit_of_b(images) * (1 if name == "b" else -1)
        probability = 1 / (1 + (-logit).exp())
        expected = [number for number, one in enumerate(probability.tolist()) if one >= confidence]
        rows = [row for row in found["samples"] if row["class"] == name]
        assert [row["file"] for row in rows] == [f"{name}/generated_{number:06d}.png" for number in expected]
        assert [row["score"] for row in rows] == pytest.approx(probability[expected].tolist(), abs=1e-5)
        assert len(expected) == 40 < result.drawn[name]


def test_nothing_is_written_if_the_filter_accepts_too_few(trained, tmp_path, shelf):
    shelf.add(Halves, "classifier")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"class 'a': only 0 of 3,200 generated samples .* and 5 are needed"):
        augment_dataset(trained.path, tmp_path / "more", 5, "classifier", confidence=1.0)
    assert sorted(tmp_path.iterdir()) == before


def test_a_classifier_without_the_classes_or_of_other_images_is_refused(trained, tmp_path, shelf):
    shelf.add(Blind)
    shelf.add(Halves)
    for overrides, message in (
        (["extractor.use=Blind"], "extractor blind does not predict the class 'a'"),
        (["extractor.use=Halves", "data.classes=1"], "does not predict the class 'b'"),
        (["extractor.use=Halves", "data.resolution=9"], "samples are 1x8x8, and the real ones are 1x9x9"),
        (["metrics.x=1"], "metrics: settings of the classifier"),
    ):
        with pytest.raises(InputError, match=message):
            augment_dataset(trained.path, tmp_path / "more", 5, "classifier", overrides=overrides)


def test_generators_without_classes_are_refused(train_toy, tmp_path):
    run = train_toy(data={"classes": 0})
    with pytest.raises(InputError, match="the generator is unconditional, so its samples have no classes"):
        augment_dataset(run.path, tmp_path / "more", 5)
    assert not (tmp_path / "more").exists()


def test_arguments_that_cannot_be_used_are_refused(trained, tmp_path):
    (tmp_path / "there").mkdir()
    for arguments, message in (
        ({"out": tmp_path / "there"}, "there: exists already; choose a new folder"),
        ({"filter": "best"}, "filter: 'best' is unknown; there are discriminator, classifier"),
        ({"per_class": 0}, "per_class: 0 given"),
        ({"keep": 0.0}, "keep: 0.0 given"),
        ({"keep": float("nan")}, "keep: nan given"),
        ({"confidence": 1.5}, "confidence: 1.5 given"),
        ({"seed": -1}, "seed: -1 given"),
        ({"label": "hair"}, "the label 'hair' is unknown; the generator has no attributes"),
        ({"file": trained.path / "generator.safetensors", "filter": "discriminator"}, "has no discriminator"),
    ):
        with pytest.raises(InputError, match=message):
            augment_dataset(**{"file": trained.path, "out": tmp_path / "more", "per_class": 5, **arguments})
    assert not (tmp_path / "more").exists()


def test_a_discriminator_of_several_images_is_refused(train_toy, tmp_path, shelf):
    class Pairs(Plugin):
        name = "pairs"

        @hookimpl
        def adjust_spec(self, spec):
            spec.pack = 2

        @hookimpl
        def discriminator_inputs(self, images, condition):
            return images.unflatten(0, (-1, 2)).flatten(1, 2), condition[::2]

    shelf.add(Pairs, kind="trick")
    run = train_toy(tricks={"pairs": {"use": "Pairs"}})
    with pytest.raises(InputError, match="takes 2 images as one input"):
        augment_dataset(run.path, tmp_path / "more", 5, "discriminator")


def test_logits_of_patches_are_averaged(train_toy, tmp_path):
    run = train_toy(discriminator={"use": "Patches"})
    augment_dataset(run.path, tmp_path / "more", 3, "discriminator")
    rows = provenance(tmp_path / "more")["samples"]
    images = drawn_naively(run, "a", 6)
    network = run.run.discriminator.eval()
    with torch.no_grad():
        scores = network(images, None)[0].mean((1, 2, 3))
    kept = sorted(scores.topk(3).indices.tolist())
    assert [row["score"] for row in rows[:3]] == pytest.approx(scores[kept].tolist(), abs=1e-5)


def test_a_plugin_writes_files_of_its_own_type(train_toy, tmp_path, shelf):
    class Texts(Plugin):
        name = "texts"

        @hookimpl
        def save_samples(self, samples, names, folder):
            paths = [folder / f"{name}.txt" for name in names]
            for path, sample in zip(paths, samples, strict=True):
                path.write_text(f"{sample.sum():.3f}")
            return paths

    shelf.add(Texts, kind="trick")
    run = train_toy(tricks={"texts": {"use": "Texts"}})
    augment_dataset(run.path, tmp_path / "more", 2)
    expected = [f"{name}/generated_{number:06d}.txt" for name in "ab" for number in range(2)]
    assert sorted(files(tmp_path / "more")) == [*expected, "provenance.json"]
    assert [row["file"] for row in provenance(tmp_path / "more")["samples"]] == expected
    assert (tmp_path / "more" / expected[1]).read_text() == f"{drawn_naively(run, 'a', 2)[1].sum():.3f}"


def test_words_of_an_attribute_are_classes():
    condition = VectorCondition(("age", "hair=black", "hair=grey", "smile=yes"))
    sampler = SimpleNamespace(condition=condition, class_names=())
    assert requests_of(sampler, "hair", "g") == {"black": {"hair": "black"}, "grey": {"hair": "grey"}}
    with pytest.raises(InputError, match="4 numbers, not a class; name an attribute as the label: hair, smile"):
        requests_of(sampler, None, "g")
    with pytest.raises(InputError, match="'age' is unknown; there are hair, smile"):
        requests_of(sampler, "age", "g")
    numbers = SimpleNamespace(condition=VectorCondition(("age",)), class_names=())
    with pytest.raises(InputError, match="1 number, not a class; use another generator"):
        requests_of(numbers, None, "g")


def test_folders_have_the_names_of_the_classes_if_possible():
    assert folder_names(["cat", "a dog", "7"]) == {"cat": "cat", "a dog": "a_dog", "7": "7"}
    assert folder_names(["..", ".hidden"]) == {"..": "_", ".hidden": "_hidden"}
    assert folder_names(["Cat", "cat"]) == {"Cat": "0_Cat", "cat": "1_cat"}
    assert folder_names(["../x", "a/b"]) == {"../x": "__x", "a/b": "a_b"}
