"""Runs with every kind of condition: training, resume, samples from the file, several numbers, texts, source images."""

import pytest
import torch

from gankit.errors import InputError, PluginError
from gankit.evaluation.evaluator import condition_for, generate, samples_of
from gankit.images.grid import to_bytes
from gankit.plugin.base import Plugin, hookimpl
from gankit.plugin.condition import VectorCondition
from gankit.plugin.dataset import Dataset
from gankit.plugin.step import Step
from gankit.runtime.rng import derived_seed
from gankit.sampling.generator_file import read_generator_file, save_generator
from gankit.sampling.grid import GridSampler, grid_layout, interpolate_rows, like
from gankit.sampling.sampler import Sampler, safe_name
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume, check_samples, check_training
from gankit.testing.harness import tiny_registry
from gankit.training.update import draw_step

KINDS = ["vector", "tokens", "image"]


def data(kind, **more):
    return {"data": {"condition": kind, **more}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train", [{}, {"accumulate": 2}, {"precision": "bf16"}], ids=["fp32", "accumulate", "bf16"])
def test_a_run_with_a_condition_trains_and_resumes_exactly(kind, train):
    changes = data(kind) | {"train": train}
    check_training({}, changes)
    check_resume({}, changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_reaches_both_networks_and_the_samples(kind):
    check_samples({}, data(kind))
    run = train_iterations(tiny_run({}, data(kind)), 1)
    real, condition, fields = run.draw_real()
    assert not fields
    z = run.draw_latent(len(real), condition)
    run.generator.eval()  # batch norm would couple the images
    with torch.no_grad():
        images, others = run.generator(z, condition), run.generator(z, condition.flip(0))
        logits, other_logits = (run.discriminator(real, c).logits for c in (condition, condition.flip(0)))
    differ = (condition != condition.flip(0)).flatten(1).any(1)
    assert differ.any()
    assert torch.equal((images != others).flatten(1).any(1), differ)
    assert torch.equal(logits != other_logits, differ)


@pytest.fixture
def saved(tmp_path):
    """Function that trains a tiny run with a kind of condition, and returns it with the sampler of its file."""

    def save(kind, **more):
        run = train_iterations(tiny_run({}, data(kind, **more)), 1)
        save_generator(run, tmp_path / "generator.safetensors")
        return run, Sampler.load(tmp_path / "generator.safetensors", registry=tiny_registry({}))

    return save


@pytest.mark.parametrize("kind", ["vector", "tokens"])
def test_a_generator_file_keeps_conditions_of_real_images(saved, kind):
    run, sampler = saved(kind)
    assert torch.equal(sampler.conditions(40), Sampler.of_run(run).conditions(40))
    real = run.dataset.read().condition
    assert all((row == real).all(1).any() for row in sampler.conditions(40))
    images, condition = sampler.sample(4)
    assert torch.equal(images, Sampler.of_run(run).sample(4)[0])
    assert torch.equal(condition, sampler.conditions(4))


def test_numbers_and_texts_are_asked_for(saved):
    _, sampler = saved("vector")
    rows = sampler.conditions(40, {"hue": "0.5"})
    assert (rows[:, 1] == 0.5).all()
    assert set(rows[:, 0].tolist()) == {0.0, 1.0}
    _, sampler = saved("tokens")
    assert sampler.conditions(2, {"text": "bright image"}).tolist() == [[2, 3, 0]] * 2
    with torch.no_grad():
        dark, bright = (sampler.sample(2, {"text": text})[0] for text in ("dark", "bright image"))
    assert not torch.equal(dark, bright)


def test_source_images_stay_out_of_the_file_and_are_given(saved):
    run, sampler = saved("image")
    assert sampler.card["condition_examples"] is None
    with pytest.raises(ValueError, match="name a folder of them with --input"):
        sampler.conditions(2)
    sources = run.dataset.read().condition[:3]
    images, condition = sampler.sample(4, sources=sources)
    assert torch.equal(condition, sources[[0, 1, 2, 0]])
    as_floats = sources.float() / 127.5 - 1
    assert torch.equal(images, sampler.sample(4, sources=as_floats)[0])


def test_a_grid_shows_each_source_image_left_of_its_sample(saved, monkeypatch):
    run, _ = saved("image", channels=1)
    drawn = []
    monkeypatch.setattr("gankit.sampling.grid.grid", lambda images, columns, names: drawn.append((images, columns)))
    grid = GridSampler(run)
    _, samples = grid.draw()
    (images, columns) = drawn[0]
    assert columns == 2 * grid.layout.columns
    assert torch.equal(images[1::2], to_bytes(samples))
    assert torch.equal(images[::2], to_bytes(grid.layout.condition))
    sources = run.dataset.read().condition
    assert all((image == sources).flatten(1).all(1).any() for image in images[::2])


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (4, 4)), (1, (4, 4))])
def test_source_images_are_drawn_in_the_form_of_the_samples(channels, size):
    sources = torch.rand(2, channels, *size)
    drawn = like(sources, torch.zeros(2, 3, 8, 8))
    assert drawn.shape == (2, 3, 8, 8)
    factor = 8 // size[0]
    for row, column in ((0, 0), (7, 3), (5, 6)):
        assert torch.equal(drawn[:, -1, row, column], sources[:, -1, row // factor, column // factor])


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_generate_samples_for_the_conditions_of_the_real_images(saved, kind):
    run, _ = saved(kind)
    real = samples_of(run.dataset.read(), run.dataset.condition)
    sampler = Sampler.of_run(run)
    assert torch.equal(condition_for(sampler, 5, 0, real), real.condition[:5])
    fake = generate(sampler, 5, 0, real)
    assert torch.equal(fake.condition, real.condition[:5])
    z = sampler.latent(5, real.condition[:5], derived_seed(0, "evaluation"))
    assert torch.equal(fake.images, torch.cat(list(sampler.images(z, real.condition[:5]))))
    assert fake.labels is None
    assert fake.described == run.dataset.condition


def test_another_condition_of_the_real_images_is_not_used(saved):
    run, _ = saved("vector")
    rows = run.dataset.read()
    real = samples_of(rows, VectorCondition(("other", "numbers")))
    sampler = Sampler.of_run(run)
    assert torch.equal(condition_for(sampler, 5, 0, real), sampler.conditions(5))


class Weighted(Plugin):
    """Images with a weight and a mask.

    Source: none.
    """

    name = "weighted"
    kind = "data"

    @hookimpl
    def load_data(self):
        return Dataset((3, 8, 8), None, self.read, fields=("weight", "mask"))

    def read(self):
        images = torch.arange(16, dtype=torch.uint8).view(16, 1, 1, 1).expand(16, 3, 8, 8).contiguous()
        return images, None, {"weight": torch.arange(16) / 16, "mask": images[:, :1] > 7}


class Record(Plugin):
    """Trick that keeps the steps.

    Source: none.
    """

    name = "record"
    read_only = True

    @hookimpl
    def on_start(self):
        self.steps: list[Step] = []

    @hookimpl
    def before_d_step(self, step):
        self.steps.append(step)

    before_g_step = before_d_step


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fields_of_the_real_images_reach_every_step(accumulate):
    run = tiny_run({Weighted: {}, Record: {}}, {"train": {"accumulate": accumulate}})
    train_iterations(run, 2)
    steps = run.plugins["tricks.record"].steps
    assert len(steps) == 4 * accumulate
    for step in steps:
        index = ((step.real[:, 0, 0, 0] + 1) * 127.5).round()
        assert torch.equal(step.fields["weight"], index / 16)
        assert torch.equal(step.fields["mask"][:, 0, 0, 0], index > 7)
        part = step.slice(torch.tensor([2, 0]))
        assert torch.equal(part.fields["weight"], step.fields["weight"][[2, 0]])
        assert torch.equal(part.real, step.real[[2, 0]])


def test_a_missing_field_is_one_sentence():
    run = tiny_run({Weighted: {}})
    assert run.spec.fields == ("weight", "mask")
    step = draw_step(run, "discriminator")
    with pytest.raises(InputError, match=r"^the data have no field 'wieght'; they have weight, mask$"):
        step.fields["wieght"]
    step = draw_step(tiny_run(), "discriminator")
    with pytest.raises(InputError, match=r"^the data have no field 'weight'; they have none; choose data with this"):
        step.fields["weight"]


class Asked(Plugin):
    """Trick with a condition of its own for samples.

    Source: none.
    """

    name = "asked"

    @hookimpl
    def sampling_conditions(self, count, requested, generator):
        if "both" not in requested:
            return None
        torch.rand(())  # does not change the run
        scale = torch.ones(2, requires_grad=True)
        return scale * (float(requested["both"]) + torch.rand(count, 2, generator=generator))


def test_a_plugin_chooses_the_condition_of_samples(tmp_path):
    run = train_iterations(tiny_run({Asked: {}}, data("vector")), 1)
    save_generator(run, tmp_path / "generator.safetensors")
    sampler = Sampler.load(tmp_path / "generator.safetensors", trust=True, registry=tiny_registry({Asked: {}}))
    assert "tricks.asked" in sampler.card["needed"]
    rows = sampler.conditions(3, {"both": "4"}, seed=5)
    assert ((rows >= 4) & (rows < 5)).all()
    assert torch.equal(rows, Sampler.of_run(run).conditions(3, {"both": "4"}, seed=5))
    assert not torch.equal(rows, sampler.conditions(3, {"both": "4"}, seed=6))
    state = torch.get_rng_state()
    sampler.conditions(3, {"both": "4"})
    assert torch.equal(torch.get_rng_state(), state)
    assert sampler.conditions(3, {"hue": 1})[:, 1].tolist() == [1, 1, 1]


def test_an_unconditional_generator_has_no_condition():
    run = tiny_run({})
    with pytest.raises(ValueError, match=r"^text 'a': the generator is unconditional; leave it out$"):
        Sampler.of_run(run).conditions(1, {"text": "a"})


class LastClass(Plugin):
    """Trick that draws samples of the last class. Source: none."""

    name = "last_class"

    @hookimpl
    def sampling_conditions(self, count, requested):
        return None if requested else torch.full((count,), 2)


class Wrong(LastClass):
    """Trick with a condition of the wrong shape. Source: none."""

    name = "wrong"

    @hookimpl
    def sampling_conditions(self, count):
        return torch.zeros(count, 3)


def test_a_plugin_chooses_the_classes_of_grids_too():
    run = tiny_run({LastClass: {}}, {"data": {"classes": 3}})
    grid = GridSampler(run).layout
    assert grid.condition.tolist() == [2] * grid.total
    assert grid.row_names == ()
    assert Sampler.of_run(run).conditions(2, {"class": "a"}).tolist() == [0, 0]
    run = tiny_run({Wrong: {}}, {"data": {"classes": 3}})
    with pytest.raises(
        PluginError, match=r"returns a tensor of shape \(2, 3\) for 2 samples; it must return rows of 3 cl"
    ):
        Sampler.of_run(run).conditions(2)


@pytest.mark.parametrize("wrong", [torch.zeros(0, 3, 8, 8), torch.zeros(2, 1, 8, 8), torch.full((1, 3, 8, 8), 9.0)])
def test_wrong_source_images_are_refused(saved, wrong):
    _, sampler = saved("image")
    with pytest.raises(InputError, match=r"the source images are \(.*\); give source images of 3x8x8"):
        sampler.conditions(2, sources=wrong)


def test_the_prior_gets_source_images_as_in_the_training(saved):
    run, sampler = saved("image")
    given = []
    sampler._sample_latent = lambda count, condition, *rest: given.append(condition) or torch.zeros(count, 4)
    sampler.latent(2, run.dataset.read().condition[:2], 0)
    assert given[0].dtype == torch.float32
    assert -1 <= given[0].min() <= given[0].max() <= 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda card: card["spec"].update(condition={"kind": "vector", "names": [1, 2]}),
        lambda card: card["spec"].update(condition={"kind": "class", "names": 5}),
        lambda card: card["spec"].update(condition={"kind": "tokens", "words": ["a"], "length": 10**13}),
        lambda card: card["spec"].update(condition={"kind": "vector", "names": ["a", "b"], "ranges": [[0, 1]]}),
        lambda card: card.update(condition_examples=[]),
        lambda card: card.update(condition_examples=3),
        lambda card: card.update(condition_examples=[[1, 2, 3]]),
        lambda card: card.update(condition_examples=[["a", "b"]]),
    ],
)
def test_a_damaged_condition_in_a_generator_file_is_refused(saved, tmp_path, damage):
    saved("vector")
    card, tensors = read_generator_file(tmp_path / "generator.safetensors")
    damage(card)
    (tmp_path / "damaged.safetensors").write_bytes(tensors_to_bytes(tensors, card))
    with pytest.raises(InputError, match="is not a generator file that this version of gankit can read"):
        Sampler.load(tmp_path / "damaged.safetensors", registry=tiny_registry({}))


def test_a_row_of_an_interpolation_has_one_condition(saved):
    _, sampler = saved("vector")
    condition = sampler.conditions(8)
    z, rows = interpolate_rows(sampler, sampler.latent(8, condition, 0), condition, 4)
    assert torch.equal(rows, condition[[0, 0, 0, 0, 4, 4, 4, 4]])
    assert len(z) == 8


def test_names_of_files_are_short_and_stay_in_the_folder():
    assert safe_name("a b/../c") == "a_b_.._c"
    assert safe_name("\u56fe" * 200) == "\u56fe" * 50


def test_each_row_of_a_grid_shows_one_text_and_its_name(saved):
    run, _ = saved("tokens")
    layout = GridSampler(run).layout
    texts = [run.dataset.condition.text(row) for row in layout.condition]
    assert layout.total == len(texts) == layout.columns * len(layout.row_names)
    assert texts == [name for name in layout.row_names for _ in range(layout.columns)]
    rows = grid_layout(Sampler.of_run(run), 10).condition
    assert len(rows) == 9
    assert grid_layout(Sampler.of_run(run), 9, {"text": "dark"}).row_names == ()


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["b c", "a", "d"], ["a", "b c", "d"]),
        (["a", "A", "d"], ["000000_a", "000001_A", "000002_d"]),
        (["x/y"], ["000000_x_y", "000001_x_y", "000002_x_y"]),
        ([], ["000000", "000001", "000002"]),
        (["x/y", "a", "d"], ["000000_x_y", "000001_a", "000002_d"]),
        (["b" * 300, "a", "d"], ["000000_" + "b" * 150, "000001_a", "000002_d"]),
    ],
    ids=["names", "alike", "too few", "none", "slash", "too long"],
)
def test_files_have_the_names_of_source_images_if_these_differ(saved, tmp_path, names, files):
    run, sampler = saved("image")
    condition = sampler.conditions(3, sources=run.dataset.read().condition[:2])
    sampler.save(sampler.latent(3, condition, 0), condition, tmp_path / "new", names)
    assert sorted(file.stem for file in (tmp_path / "new").iterdir()) == files
