"""Tests of the progressively growing GAN."""

import pytest
import torch
from progressive import (
    GrowingDiscriminator,
    GrowingGenerator,
    ProgressiveDiscriminator,
    ProgressiveGenerator,
    ProgressiveGrowth,
    progress_at,
    seen,
)
from safetensors.torch import load_file

from gankit import Sampler, Session, Spec
from gankit.testing import check_documentation, check_plugin, check_resume, check_samples, check_training
from tests.strangers.conftest import HERE

SMALL = {"base": 2, "width": 4}
GENERATOR = {"generator": {"use": "./progressive.py:ProgressiveGenerator", **SMALL}}
DISCRIMINATOR = {"discriminator": {"use": "./progressive.py:ProgressiveDiscriminator", **SMALL}}
GROWTH = {"tricks": {"growth": {"use": "./progressive.py:ProgressiveGrowth", "stable": 1, "fade": 2}}}

PARTS = {ProgressiveGenerator: SMALL, ProgressiveDiscriminator: SMALL, ProgressiveGrowth: {"stable": 1, "fade": 2}}
UNREACHED = ["blocks.2.", "to_image.2.", "from_image.2."]


@pytest.mark.parametrize(
    ("plugin", "settings", "changes"),
    [
        (ProgressiveGenerator, SMALL, DISCRIMINATOR | GROWTH),
        (ProgressiveDiscriminator, SMALL, GENERATOR | GROWTH),
        (ProgressiveGrowth, {"stable": 1, "fade": 2}, GENERATOR | DISCRIMINATOR),
    ],
)
def test_plugin(plugin, settings, changes):
    check_plugin(plugin, settings, changes, unreached=UNREACHED)


def test_parts_together():
    for plugin in PARTS:
        check_documentation(plugin)
    run = check_training(PARTS, unreached=UNREACHED)
    assert run.generator.progress == run.discriminator.progress == 1
    check_samples(PARTS)


@pytest.mark.parametrize("before", [1, 2, 3, 4])
def test_resume_at_every_stage(before):
    check_resume(PARTS, before=before, after=4)


@pytest.mark.parametrize("iterations", [16])
def test_kill_resume_sample(killed_run_equals_whole_run, samples_twice, iterations):
    file = killed_run_equals_whole_run("progressive.toml", f"train.iterations={iterations}")
    assert load_file(file)["progress"].item() == pytest.approx(progress_at(iterations - 1, 10, 10, 3))
    samples_twice(file)


def test_schedule():
    """Stable, fade, stable, fade, stable."""
    expected = [0, 0, 0, 0.5, 1, 1, 1, 1.5, 2, 2, 2]
    assert [progress_at(t, 2, 2, 3) for t in range(11)] == expected


def at(network, progress):
    network.progress.fill_(progress)
    return network


@pytest.fixture
def networks():
    torch.manual_seed(0)
    spec = Spec(shape=(3, 16, 16), latent_size=5)
    return GrowingGenerator(spec, 3, 4, 6), GrowingDiscriminator(spec, 3, 4, 6)


def nearest(image, factor):
    """Repeat pixels, one by one."""
    out = torch.empty(*image.shape[:2], image.shape[2] * factor, image.shape[3] * factor)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = image[:, :, i // factor, j // factor]
    return out


def average(image, factor):
    """Average squares, one by one."""
    out = torch.empty(*image.shape[:2], image.shape[2] // factor, image.shape[3] // factor)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = image[:, :, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].mean((2, 3))
    return out


def test_generator_fades(networks):
    """Karras 2017, figure 2b: (1 - alpha) upsampled smaller network + alpha larger network, for all alpha."""
    g, _ = networks
    z = torch.randn(4, 5)
    for k in (0, 1):
        small, large = at(g, k)(z, None), at(g, k + 1)(z, None)
        assert torch.allclose(small, nearest(average(small, 2 ** (2 - k)), 2 ** (2 - k)), atol=1e-6)
        assert not torch.allclose(small, large)
        for alpha in (2**-20, 0.25, 0.5, 1 - 2**-20):
            between = at(g, k + alpha)(z, None)
            assert torch.allclose(between, (1 - alpha) * small + alpha * large, atol=1e-5)


def test_discriminator_fades(networks):
    """D is continuous at alpha 0 and 1, and sees only the pixels of its level."""
    _, d = networks
    x = torch.rand(4, 3, 16, 16)
    for k in (0, 1):
        small, large = at(d, k)(x, None).logits, at(d, k + 1)(x, None).logits
        low = nearest(average(x, 2 ** (2 - k)), 2 ** (2 - k))
        assert torch.allclose(small, at(d, k)(low, None).logits, atol=1e-5)
        assert torch.allclose(at(d, k + 1e-7)(x, None).logits, small, atol=1e-5)
        assert torch.allclose(at(d, k + 1 - 1e-7)(x, None).logits, large, atol=1e-5)
        assert not torch.allclose(small, large)


def test_real_images_fade():
    x = torch.rand(2, 3, 16, 16)
    low, middle = nearest(average(x, 4), 4), nearest(average(x, 2), 2)
    assert torch.allclose(seen(x, 0.0, 3), low)
    assert torch.allclose(seen(x, 0.25, 3), 0.75 * low + 0.25 * middle)
    assert torch.allclose(seen(x, 1.5, 3), 0.5 * middle + 0.5 * x)
    assert torch.equal(seen(x, 2.0, 3), x)


def test_file_carries_progress(tmp_path):
    """A file of a run that stopped in a fade-in has the same images as the run."""
    with Session(str(HERE / "progressive.toml")) as session:
        session.train(16)
        expected, _ = session.images(6)
        session.save(tmp_path / "g.safetensors")
    sampler = Sampler.load(tmp_path / "g.safetensors", trust=True)
    assert sampler.generator.progress.item() == 0.5
    assert torch.equal(sampler.sample(6)[0], expected)
