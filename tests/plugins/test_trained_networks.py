"""Networks of gankit that start from trained ones: other sizes, grey and colour, moving averages."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

from gankit import InputError
from gankit.storage.run_dir import RunDir
from gankit.testing import train_iterations
from gankit.training.initialisation import initialise
from gankit.training.loop import save
from gankit.training.weight_matching import load, match
from gankit_plugins.layers.spectral import Spectral
from tests.plugins.test_every_plugin import SMALL, STYLEGAN2


def networks(start_run, kind, resolution, generator, discriminator=None, **more):
    """Return the run of a generator and a discriminator of one kind."""
    settings = {"generator": {"use": kind, **generator}, "discriminator": {"use": kind, **(discriminator or generator)}}
    none = {"generator": "none", "discriminator": "none"}
    data = {"resolution": resolution, **more}
    return start_run({"data": data, **settings, "normalization": none})


def not_taken(old, new, player):
    """Return the names of tensors that are not taken, without their last parts."""
    matches = match(new.networks[player], old.networks[player].state_dict(), new.spec.channels)
    return {m.name.rpartition(".")[0] for m in matches if m.value is None}


STYLE = {name: value for name, value in STYLEGAN2.items() if name != "use"}
STYLE_D = {"channel_base": 512, "max_channels": 4}


@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_style_networks_keep_all_levels_at_twice_the_size(start_run, kind):
    """All feature maps have 4 channels, so shapes alone cannot tell the levels apart."""
    generator = STYLE | {"channel_base": 512, "max_channels": 4}
    old, new = (networks(start_run, kind, side, generator, STYLE_D) for side in (8, 16))
    missing = not_taken(old, new, "discriminator")
    assert missing
    assert all(name.startswith("body.16.") for name in missing)
    levels = ("synthesis.blocks.2", "synthesis.body.4", "synthesis.body.5", "synthesis.to_image.2")
    missing = not_taken(old, new, "generator")
    assert missing
    assert all(name.startswith(levels) for name in missing)


def test_fastgan_keeps_all_levels_at_twice_the_size(start_run):
    old, new = (networks(start_run, "fastgan", side, {"width": 16}) for side in (32, 64))
    missing = not_taken(old, new, "discriminator")
    assert all(name.startswith(("body.1.", "from_image.")) for name in missing), missing


def test_pggan_keeps_all_levels_and_grows_anew(start_run):
    old, new = (networks(start_run, "pggan", side, {"width": 4, "max_width": 4}) for side in (8, 16))
    for player in ("generator", "discriminator"):
        missing = not_taken(old, new, player) - {""}
        assert all(".2." in f"{name}." for name in missing), missing
        assert "growth" in {m.name for m in match(new.networks[player], old.networks[player].state_dict(), 3)}
        assert "" in not_taken(old, new, player)  # `growth`, an integer of the network itself


def test_dcgan_with_half_the_width_keeps_all_levels_at_twice_the_size(start_run):
    old, new = (networks(start_run, "dcgan", side, {"width": width}) for side, width in ((16, 8), (32, 4)))
    assert not_taken(old, new, "generator") == {"body.2.0", "to_image.0"}


@pytest.mark.parametrize("kind", ["dcgan", "sngan", "igan", "fastgan"])
def test_a_grey_image_has_the_same_logits_with_a_discriminator_for_colour(start_run, kind):
    """FastGAN and SNGAN have layers beside the first one that take the image."""
    settings = SMALL.get(f"discriminator.{kind}", SMALL.get(kind))
    generator = SMALL.get(f"generator.{kind}", SMALL.get(kind))
    old, new = (networks(start_run, kind, 16, generator, settings, channels=c) for c in (1, 3))
    matches = match(new.discriminator, old.discriminator.state_dict(), 3)
    assert [m.name for m in matches if m.value is None] == []
    load(new.discriminator, matches)
    grey = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        expected = old.discriminator(grey, None).logits
        torch.testing.assert_close(new.discriminator(grey.expand(-1, 3, -1, -1), None).logits, expected)


@pytest.mark.parametrize("kind", ["dcgan", "sngan", "igan", "fastgan", "stylegan2", "pggan"])
def test_a_generator_for_colour_starts_with_grey_images(start_run, kind):
    settings = SMALL.get(f"generator.{kind}", SMALL.get(kind))
    discriminator = SMALL.get(f"discriminator.{kind}", SMALL.get(kind))
    old, new = (networks(start_run, kind, 16, settings, discriminator, channels=c) for c in (1, 3))
    load(new.generator, match(new.generator, old.generator.state_dict(), 3))
    z = torch.randn(3, old.spec.latent_size)
    old.generator.eval()
    new.generator.eval()
    with torch.no_grad():
        for run in (old, new):
            torch.manual_seed(0)  # noise of StyleGAN2
            run.images = run.generator(z, None)
    torch.testing.assert_close(new.images, old.images.expand(-1, 3, -1, -1), atol=1e-5, rtol=1e-4)


def test_a_moving_average_starts_from_the_taken_weights(start_run, assembled, tmp_path):
    tricks = {"tricks": {"moving_average": {"decay": 0.5}}}
    old = train_iterations(start_run(tricks), 2)
    directory = RunDir(tmp_path)
    save(old, directory)
    new = assembled(tricks | {"seed": 9, "init": {"generator": str(directory.generator_file)}})
    initialise(new)
    new.start()
    expected = old.sampled_generator().state_dict()
    for name, tensor in new.sampled_generator().state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, expected[name]), name


def test_spectral_norm_fits_a_weight_from_a_network_without_it():
    plain, new = nn.Linear(6, 5), nn.Linear(6, 5)
    parametrize.register_parametrization(new, "weight", Spectral(new, iterations=1))
    tensors = {"parametrizations.weight.original": plain.weight.detach(), "bias": plain.bias.detach()}
    load(new.eval(), match(new, tensors, 3))
    torch.testing.assert_close(torch.linalg.matrix_norm(new.weight, 2), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_frozen_layers_must_be_taken(start_run, tmp_path):
    """The first layers of a StyleGAN2 discriminator for larger images are new, so they cannot be frozen."""
    generator = STYLE | {"channel_base": 512, "max_channels": 4}
    source = networks(start_run, "stylegan2", 8, generator, STYLE_D)
    file = tmp_path / "discriminator.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in source.discriminator.state_dict().items()}, file)
    changes = {"init": {"discriminator": str(file)}, "tricks": {"freeze_d": {"layers": 4}}}
    for resolution in (8, 16):
        style = {"generator": {"use": "stylegan2", **generator}, "discriminator": {"use": "stylegan2", **STYLE_D}}
        none = {"generator": "none", "discriminator": "none"}
        run = start_run({"data": {"resolution": resolution}, **style, "normalization": none, **changes})
        if resolution == 8:
            initialise(run)
            continue
        with pytest.raises(
            InputError, match=r"init.discriminator: the discriminator has frozen parameters .* body\.16"
        ):
            initialise(run)
