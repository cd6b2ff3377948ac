"""Runs with every kind of condition: training, resume, samples from the file, several numbers, texts, source images."""

import pytest
import torch

from gankit.evaluation.evaluator import condition_for, generate, samples_of
from gankit.images.grid import to_bytes
from gankit.plugin.base import Plugin, hookimpl
from gankit.plugin.condition import VectorCondition
from gankit.plugin.dataset import Dataset
from gankit.plugin.step import Step
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler, like
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume, check_samples, check_training
from gankit.testing.harness import tiny_registry

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
    rows = sampler.conditions(4, {"hue": "0.5"})
    assert (rows[:, 1] == 0.5).all()
    assert set(rows[:, 0].tolist()) <= {0.0, 1.0}
    _, sampler = saved("tokens")
    assert sampler.conditions(2, {"text": "bright image"}).tolist() == [[2, 3, 0]] * 2
    with torch.no_grad():
        dark, bright = (sampler.sample(2, requested={"text": text})[0] for text in ("dark", "bright image"))
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


class Asked(Plugin):
    """Latent trick that answers what a user asks for.

    Source: none.
    """

    name = "asked"

    @hookimpl
    def sampling_conditions(self, count, requested, generator):
        if "both" not in requested:
            return None
        return torch.full((count, 2), float(requested["both"])) + torch.rand(count, 2, generator=generator)


def test_a_plugin_answers_what_a_user_asks_for(tmp_path):
    run = train_iterations(tiny_run({Asked: {}}, data("vector")), 1)
    save_generator(run, tmp_path / "generator.safetensors")
    sampler = Sampler.load(tmp_path / "generator.safetensors", trust=True, registry=tiny_registry({Asked: {}}))
    assert "tricks.asked" in sampler.card["needed"]
    rows = sampler.conditions(3, {"both": "4"}, seed=5)
    assert ((rows >= 4) & (rows < 5)).all()
    assert torch.equal(rows, Sampler.of_run(run).conditions(3, {"both": "4"}, seed=5))
    assert not torch.equal(rows, sampler.conditions(3, {"both": "4"}, seed=6))
    assert sampler.conditions(3, {"hue": 1})[:, 1].tolist() == [1, 1, 1]


def test_an_unconditional_generator_has_no_condition():
    run = tiny_run({})
    with pytest.raises(ValueError, match=r"^text 'a': the generator is unconditional; leave it out$"):
        Sampler.of_run(run).conditions(1, {"text": "a"})
