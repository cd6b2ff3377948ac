"""Tests of pix2pix."""

import math

import pytest
import torch
from pix2pix import (
    L1,
    ColourShapes,
    PatchDiscriminator,
    PatchNetwork,
    SourceImages,
    UNet,
    draw_sources,
    l1,
    source_of,
    target_of,
)

from gankit import Sampler, Session, Spec, Step
from gankit.testing import (
    check_documentation,
    check_plugin,
    check_resume,
    check_samples,
    check_training,
    tiny_run,
    train_iterations,
)
from tests.strangers.conftest import HERE

LATENT = {"latent": {"use": "./pix2pix.py:SourceImages", "side": 8}}
GENERATOR = {"generator": {"use": "./pix2pix.py:UNet", "width": 4}}
DISCRIMINATOR = {"discriminator": {"use": "./pix2pix.py:PatchDiscriminator", "width": 4}}

PARTS = {
    ColourShapes: {"side": 8, "count": 32},
    SourceImages: {"side": 8},
    UNet: {"width": 4},
    PatchDiscriminator: {"width": 4},
    L1: {},
}


@pytest.mark.parametrize(
    ("plugin", "settings", "changes"),
    [
        (ColourShapes, {"side": 8, "count": 32}, {}),
        (SourceImages, {"side": 8}, {}),
        (UNet, {"width": 4}, LATENT),
        (PatchDiscriminator, {"width": 4}, LATENT),
        (L1, {}, LATENT),
        (L1, {}, LATENT | GENERATOR | DISCRIMINATOR),
    ],
)
def test_plugin(plugin, settings, changes):
    check_plugin(plugin, settings, changes)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_together(precision):
    changes = {"train": {"precision": precision}}
    for plugin in PARTS:
        check_documentation(plugin)
    check_training(PARTS, changes)
    check_resume(PARTS, changes)
    check_samples(PARTS, changes)


def test_kill_resume_sample(killed_run_equals_whole_run, samples_twice):
    samples_twice(killed_run_equals_whole_run("pix2pix.toml"))


def test_rule():
    """The source of a target is the image from which the target was made."""
    source, kinds = draw_sources(20, 16, torch.device("cpu"), torch.Generator().manual_seed(1))
    assert set(kinds.tolist()) == {0, 1}
    assert torch.equal((source_of(target_of(source, kinds)) > -1), source > 0)


def test_l1():
    """Isola 2017, equation 3, pixel by pixel."""
    y, g = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    differences = [abs(a - b) for a, b in zip(y.flatten().tolist(), g.flatten().tolist(), strict=True)]
    assert l1(y, g).item() == pytest.approx(sum(differences) / len(differences))


def test_terms_in_run():
    """The terms of a step are those of equations 1 and 3 for pairs, with the mean over patches and images."""
    parts = {
        ColourShapes: {"side": 16, "count": 32},
        SourceImages: {},
        UNet: {"dropout": 0.0},
        PatchDiscriminator: {},
        L1: {},
    }
    run = train_iterations(tiny_run(parts, {"loss": "non_saturating"}), 2)
    y, _ = run.draw_real()
    z = source_of(y).flatten(1)
    fake = run.generator(z, None)
    step = Step(run, "generator", y, None, z, fake)
    values = {t.name: t.function(step).item() for t in run.terms["generator"]}
    patches = run.discriminator(fake, z).logits
    assert patches.shape == (len(y), 4, 4)
    fooled = [math.log(1 + math.exp(-p)) for p in patches.flatten().tolist()]
    assert values["adversarial"] == pytest.approx(sum(fooled) / len(fooled), rel=1e-5)
    assert values["l1"] == pytest.approx((y - fake).abs().sum().item() / y.numel(), rel=1e-5)


def test_patches():
    """A logit depends on the 18x18 pixels around it, of the image and of the source, and on no others."""
    network = PatchNetwork(Spec(shape=(3, 64, 64)), 4)
    image, source = torch.rand(1, 3, 64, 64, requires_grad=True), torch.rand(1, 64 * 64, requires_grad=True)
    logits = network(image, source).logits
    assert logits.shape == (1, 16, 16)
    for gradient in torch.autograd.grad(logits[0, 8, 8], (image, source)):
        rows, columns = gradient.view(-1, 64, 64).abs().sum(0).nonzero().T
        assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 18


def test_translate_given_sources(tmp_path):
    """The generator file translates sources of the user."""
    with Session(str(HERE / "pix2pix.toml"), ["train.iterations=2"]) as session:
        session.train()
        session.save(tmp_path / "g.safetensors")
    sources, _ = draw_sources(5, 16, torch.device("cpu"), None)
    (images,) = Sampler.load(tmp_path / "g.safetensors", trust=True).images(sources.flatten(1), None)
    assert images.shape == (5, 3, 16, 16)
