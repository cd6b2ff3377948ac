"""Trick: decoders reconstruct D's real inputs from its feature maps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gankit import InputError
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit.training.update import draw_step
from gankit_plugins.discriminator.fastgan import FastganDiscriminator
from gankit_plugins.generator.fastgan import Fastgan
from gankit_plugins.trick.discriminator_reconstruction import (
    DECODERS,
    PART,
    WHOLE,
    decoder,
    quarter,
    reconstruction_loss,
)

TRICK = "discriminator_reconstruction"
SMALL = {Fastgan: {"width": 8}, FastganDiscriminator: {"width": 8}}
AT_32 = {"data": {"use": "shapes", "resolution": 32, "count": 24, "kinds": ["circle", "ring"]}}
NETWORKS = {
    "dcgan": {"generator": {"use": "dcgan", "width": 4}, "discriminator": {"use": "dcgan", "width": 4}},
    "sngan": {"generator": {"use": "sngan", "width": 4}, "discriminator": {"use": "sngan", "width": 4}},
}


def with_trick(change=None, **config):
    return {**AT_32, **(change or {}), "tricks": {TRICK: {"width": 4, **config}}}


def d_step(run):
    torch.manual_seed(3)
    return draw_step(run, "discriminator")


def term(run):
    (term,) = (one for one in run.terms["discriminator"] if one.name == "reconstruction")
    return term


# Equations

CORNERS = [(False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize(("side", "rows"), [(4, (slice(0, 2), slice(2, 4))), (5, (slice(0, 3), slice(2, 5)))])
def test_quarters(side, rows):
    x = torch.arange(4 * 2 * side * side).view(4, 2, side, side)
    quarters = quarter(x, *torch.tensor(CORNERS).unbind(1))
    for i, (bottom, right) in enumerate(CORNERS):
        assert torch.equal(quarters[i], x[i, :, rows[bottom], rows[right]])


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize(("small", "large"), [((16, 16), (64, 64)), ((16, 8), (32, 16)), ((8, 8), (8, 8))])
def test_quarter_of_the_map_and_of_the_image_are_the_same_part(corner, small, large):
    """Enlarge a map to the size of the image: its quarter, enlarged, is the quarter of the image."""
    x = torch.randn(1, 2, *small)
    bottom, right = torch.tensor(corner)[:, None]
    part = F.interpolate(quarter(x, bottom, right), size=[side // 2 for side in large])
    assert torch.equal(part, quarter(F.interpolate(x, size=large), bottom, right))


def test_loss_by_a_naive_loop():
    images, reconstruction = torch.randn(2, 3, 8, 12, dtype=torch.float64), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    total = 0.0
    for b in range(2):
        for c in range(3):
            for i in range(4):
                for j in range(6):
                    mean = images[b, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean().item()
                    total += abs(reconstruction[b, c, i, j].item() - mean) / (2 * 3 * 4 * 6)
    assert reconstruction_loss(reconstruction, images).item() == pytest.approx(total)


def test_loss_of_an_exact_reconstruction_is_0_and_its_type_is_wide():
    images = torch.randn(1, 2, 4, 4)
    assert reconstruction_loss(images, images).item() == 0
    assert reconstruction_loss(images.bfloat16(), images).dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "target", "output", "convolutions"),
    [
        ((8, 8), (256, 256), (128, 128), 4),
        ((8, 8), (128, 128), (128, 128), 4),
        ((8, 8), (64, 64), (64, 64), 3),
        ((8, 8), (32, 32), (32, 32), 2),
        ((7, 7), (28, 28), (28, 28), 2),
        ((8, 16), (100, 150), (64, 128), 3),
        ((8, 8), (8, 8), (16, 16), 1),
    ],
)
def test_decoder(run_32, size, target, output, convolutions):
    network = decoder(run_32.spec, 6, 4, size, target, 3)
    assert network(torch.randn(2, 6, *size)).shape == (2, 3, *output)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == convolutions
    assert [m.out_channels // 2 for m in layers[:-1]] == [4 * 2**k for k in range(convolutions - 1)][::-1]


@pytest.fixture
def run_32():
    return tiny_run(SMALL, with_trick())


# In a run


def test_term_is_the_error_of_a_quarter_and_of_the_whole_real_image(run_32):
    step = d_step(run_32)
    maps = step.real_output.extra
    assert (maps[PART].shape[2:], maps[WHOLE].shape[2:]) == ((16, 16), (8, 8))
    torch.manual_seed(7)
    value = term(run_32).function(step)
    torch.manual_seed(7)
    bottom, right = (torch.rand(2, 8) < 0.5).tolist()
    assert len(set(zip(bottom, right, strict=True))) > 1
    decoders = run_32.networks[DECODERS]
    parts = []
    for i in range(8):
        y, x = 8 * bottom[i], 8 * right[i]
        decoded = decoders.part(maps[PART][i : i + 1, :, y : y + 8, x : x + 8])
        parts.append((decoded - step.real[i, :, 2 * y : 2 * y + 16, 2 * x : 2 * x + 16]).abs().mean())
    whole = (decoders.whole(maps[WHOLE]) - step.real).abs().mean()
    torch.testing.assert_close(value, torch.stack(parts).mean() + whole)


def test_gradients_reach_the_decoders_and_d_and_fake_images_are_unused(run_32):
    step = d_step(run_32)
    term(run_32).function(step).backward()
    assert "fake_output" not in vars(step)
    assert all(p.grad.abs().max() > 0 for p in run_32.networks[DECODERS].parameters())
    reached = {name for name, p in run_32.discriminator.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name for name, _ in run_32.discriminator.named_parameters()} - reached == {
        f"network.head.{name}" for name in ("weight", "bias")
    }


def test_targets_are_the_augmented_images():
    """DiffAugment draws a shift, and the decoders reconstruct the shifted images."""
    change = with_trick()
    change["tricks"] = {"diff_augment": {"policy": ["translation"]}} | change["tricks"]
    run = tiny_run(SMALL, change)
    step = d_step(run)
    images = step.real_inputs[0]
    assert not torch.equal(images, step.real)
    decoders = run.networks[DECODERS]
    for p in decoders.parameters():
        nn.init.zeros_(p)
    expected = images.abs().mean()
    torch.manual_seed(7)
    bottom, right = torch.rand(2, 8) < 0.5
    expected = expected + quarter(images, bottom, right).abs().mean()
    torch.manual_seed(7)
    torch.testing.assert_close(term(run).function(step), expected)


def test_generator_has_no_term(run_32):
    assert all(one.name != "reconstruction" for one in run_32.terms["generator"])


def test_reconstructions_improve():
    change = with_trick(
        {"optimizer": {player: {"use": "adam", "lr": 3e-3} for player in ("generator", "discriminator")}}
    )
    run = tiny_run(SMALL, change)

    def error():
        torch.manual_seed(5)
        with torch.no_grad():
            return term(run).function(d_step(run)).item()

    before = error()
    train_iterations(run, 30)
    assert error() < 0.8 * before


@pytest.mark.parametrize(("networks", "part", "whole"), [("dcgan", "body.0", "body.1"), ("sngan", "body.0", "body.1")])
def test_other_discriminators(networks, part, whole):
    run = train_iterations(tiny_run({}, with_trick(NETWORKS[networks])), 1)
    assert run.discriminator.modules_by_output == {PART: part, WHOLE: whole}


def test_output_of_d_is_unchanged_apart_from_the_maps(assembled):
    change = AT_32 | NETWORKS["dcgan"]
    ours, other = assembled(change | {"tricks": {TRICK: {}}}), assembled(change)
    images = torch.randn(2, 3, 32, 32)
    other.discriminator.load_state_dict(ours.discriminator.network.state_dict())
    output, expected = ours.discriminator.eval()(images, None), other.discriminator.eval()(images, None)
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.features, expected.features)
    assert torch.equal(output.extra[PART], other.discriminator.body[0](images))
    assert not any(module._forward_hooks for module in ours.discriminator.modules())


@pytest.mark.parametrize("norm", ["batch_norm", "spectral_norm", "layer_norm", "instance_norm", "group_norm"])
def test_decoders_have_the_normalisation_of_d(norm):
    change = with_trick({"normalization": {"discriminator": {"use": norm}}})
    run = train_iterations(tiny_run(SMALL, change), 1)
    whole = run.networks[DECODERS].whole
    if norm == "spectral_norm":
        assert hasattr(whole[0][1][0], "parametrizations")
    else:
        assert "Norm" in type(whole[0][1][0][1]).__name__
    assert isinstance(whole[-1], nn.Conv2d)
    assert not hasattr(whole[-1], "parametrizations")


@pytest.mark.parametrize(
    "other",
    [
        *("packing", "minibatch_stddev", "relativistic", "r1", "gradient_penalty", "self_attention"),
        *("unrolled_discriminator", "auxiliary_classifier", "experience_replay"),
    ],
)
def test_with_other_tricks(other):
    norms = {"normalization": {"generator": {"use": "conditional_batch_norm"}}}
    for order in ([TRICK, other], [other, TRICK]):
        tricks = {name: {"width": 4} if name == TRICK else {} for name in order}
        train_iterations(tiny_run({}, AT_32 | NETWORKS["sngan"] | norms | {"tricks": tricks}), 1)


@pytest.mark.parametrize("train", [{"precision": "bf16"}, {"accumulate": 2}])
def test_run_resumes_exactly(train):
    change = {"train": train, "normalization": {"discriminator": {"use": "spectral_norm"}}}
    check_resume(SMALL, with_trick(change), before=1, after=1)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (24, 40), (33, 47)])
def test_odd_and_rectangular_images(height, width):
    data = {"data": {"resolution": height, "width": width}}
    train_iterations(tiny_run(SMALL, with_trick() | data), 1)


def test_refusals(assembled):
    change = {"discriminator": {"use": "mlp", "hidden": [4]}, "tricks": {TRICK: {}}}
    with pytest.raises(InputError, match="FullyConnectedDiscriminator has no layers that return feature maps"):
        assembled(change)
    with pytest.raises(InputError, match="igan_per_class has a network for each class"):
        assembled({"tricks": {TRICK: {}}}, "igan_vn")
    change = {"normalization": {"discriminator": {"use": "virtual_batch_norm"}}, "tricks": {TRICK: {}}}
    with pytest.raises(InputError, match="the reference batch of virtual_batch_norm does not pass through them"):
        assembled(change)
    with pytest.raises(InputError, match="progressive_growing trains D's layers one size after the other"):
        assembled({"tricks": {TRICK: {}, "progressive_growing": {}}})


def test_warning_about_noise(assembled):
    run = assembled({"tricks": {TRICK: {}, "instance_noise": {"sigma": 0.1}}})
    assert any("instance_noise adds noise that the decoders cannot reconstruct" in one for one in run.warnings)
