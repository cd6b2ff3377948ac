"""Tests of pix2pix."""

import math

import pytest
import torch
from PIL import Image
from pix2pix import (
    L1,
    ColourShapes,
    PatchDiscriminator,
    PatchNetwork,
    UNet,
    draw_sources,
    l1,
)

from gankit import ImageCondition, Sampler, Session, Spec, Step
from gankit.cli import run_command_line
from gankit.testing import (
    check_documentation,
    check_plugin,
    check_resume,
    check_samples,
    check_training,
    tiny_run,
    train_iterations,
)
from tests.strangers.conftest import HERE, run_gankit

PAIRS = {"data": {"condition": "image"}}
GENERATOR = {"generator": {"use": "./pix2pix.py:UNet", "width": 4}}
DISCRIMINATOR = {"discriminator": {"use": "./pix2pix.py:PatchDiscriminator", "width": 4}}

PARTS = {
    ColourShapes: {"side": 8, "count": 32},
    UNet: {"width": 4},
    PatchDiscriminator: {"width": 4},
    L1: {},
}


@pytest.mark.parametrize(
    ("plugin", "settings", "changes"),
    [
        (ColourShapes, {"side": 8, "count": 32}, {}),
        (UNet, {"width": 4}, PAIRS),
        (PatchDiscriminator, {"width": 4}, PAIRS),
        (L1, {}, PAIRS),
        (L1, {}, PAIRS | GENERATOR | DISCRIMINATOR),
    ],
)
def test_plugin(plugin, settings, changes):
    check_plugin(plugin, settings, changes, classes=(0,))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_together(precision):
    changes = {"train": {"precision": precision}}
    for plugin in PARTS:
        check_documentation(plugin)
    check_training(PARTS, changes)
    check_resume(PARTS, changes)
    check_samples(PARTS, changes)


def test_kill_resume_sample(killed_run_equals_whole_run, samples_twice, sources):
    samples_twice(killed_run_equals_whole_run("pix2pix.toml"), "--input", sources)


def test_pairs():
    """Each target has the shape of its source, in the colour of its kind."""
    target, source, _ = ColourShapes(ColourShapes.Config(side=16, count=20)).load_data().read()
    inside = (source > 0).expand_as(target)
    assert (target[~inside] == -1).all()
    assert {tuple(image[:, 8, 8].tolist()) for image in target} == {(1, -0.5, -1), (-1, torch.tensor(0.2).item(), 1)}


def test_l1():
    """Isola 2017, equation 3, pixel by pixel."""
    y, g = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    differences = [abs(a - b) for a, b in zip(y.flatten().tolist(), g.flatten().tolist(), strict=True)]
    assert l1(y, g).item() == pytest.approx(sum(differences) / len(differences))


def test_terms_in_run():
    """The terms of a step are those of equations 1 and 3 for pairs, with the mean over patches and images."""
    parts = {
        ColourShapes: {"side": 16, "count": 32},
        UNet: {"dropout": 0.0},
        PatchDiscriminator: {},
        L1: {},
    }
    run = train_iterations(tiny_run(parts, {"loss": "non_saturating"}), 2)
    y, source, _ = run.draw_real()
    z = run.draw_latent(len(y), source)
    fake = run.generator(z, source)
    step = Step(run, "generator", y, source, z, fake)
    values = {t.name: t.function(step).item() for t in run.terms["generator"]}
    patches = run.discriminator(fake, source).logits
    assert patches.shape == (len(y), 4, 4)
    fooled = [math.log(1 + math.exp(-p)) for p in patches.flatten().tolist()]
    assert values["adversarial"] == pytest.approx(sum(fooled) / len(fooled), rel=1e-5)
    assert values["l1"] == pytest.approx((y - fake).abs().sum().item() / y.numel(), rel=1e-5)


def test_patches():
    """A logit depends on the 18x18 pixels around it, of the image and of the source, and on no others."""
    network = PatchNetwork(Spec(shape=(3, 64, 64), condition=ImageCondition((1, 64, 64))), 4)
    image, source = (torch.rand(1, channels, 64, 64, requires_grad=True) for channels in (3, 1))
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
    sources, _ = draw_sources(5, 16, None)
    sampler = Sampler.load(tmp_path / "g.safetensors", trust=True)
    images, _ = sampler.sample(5, sources=sources)
    assert images.shape == (5, 3, 16, 16)
    assert torch.equal(images[[1]], sampler.sample(1, sources=sources[[1]])[0])


@pytest.fixture
def sources(tmp_path):
    """Folder with three source images."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for number, source in enumerate(draw_sources(3, 16, None)[0]):
        Image.fromarray((source[0] > 0).numpy()).convert("L").save(folder / f"{number}.png")
    return folder


def test_command_translates_a_folder(tmp_path, sources, capfd):
    """`gankit sample --input` writes an image for each source image, and a grid of pairs. So does a video."""
    run_gankit("run", HERE / "pix2pix.toml", "train.iterations=2", "--out", tmp_path / "run")
    sample = ("sample", tmp_path / "run", "--trust")
    run_gankit(*sample, "--input", sources, "--out", tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "000000_0.png",
        "000001_1.png",
        "000002_2.png",
    ]
    run_gankit(*sample, "--input", sources, "--out", tmp_path / "new.png")
    out = tmp_path / "walk.gif"
    run_gankit("video", *sample[1:], "--input", sources, "--seconds", "0.1", "--fps", "20", "--out", out)
    assert capfd.readouterr().out.endswith(f"2 frames of 3 images: {out}\n")
    for options, message in (
        ((), "the generator needs source images; name a folder of them with --input"),
        (("--input", tmp_path / "nowhere"), "no such file or folder"),
        (("--set", "age=3"), "age: the generator has no such condition; it takes source images"),
    ):
        assert run_command_line([*map(str, (*sample, *options, "--out", tmp_path / "x.png"))]) == 2
        assert message in capfd.readouterr().err
