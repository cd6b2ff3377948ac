"""Networks for image-to-image translation: pix2pix's U-Net, CycleGAN's residual network, and PatchGAN."""

import pytest
import torch
from torch import nn

from gankit import ImageCondition, InputError, Spec
from gankit_plugins.discriminator.patchgan import ConditionalPatchGan, PatchGan
from gankit_plugins.generator.cyclegan import CycleGan
from gankit_plugins.generator.pix2pix import Pix2Pix


def spec_of(size=(256, 256), channels=3, source_channels=3, norm=None):
    spec = Spec(shape=(channels, *size), condition=ImageCondition((source_channels, *size)))
    if norm is not None:
        spec.normalize = lambda player, layer, features: nn.Sequential(layer, norm(features))
    return spec


def built(plugin_class, spec, **settings):
    plugin = plugin_class(plugin_class.Config(**settings))
    plugin.adjust_spec(spec)
    hook = "build_discriminator" if plugin_class.kind == "discriminator" else "build_generator"
    return getattr(plugin, hook)(spec)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def layers(network):
    """Return (kernel, stride, inputs, outputs) of each convolution, in the order of the calls."""
    found = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda m, *_: found.append((m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels))
            )
    size = network(*INPUTS(network))
    return found, size


def INPUTS(network):  # noqa: N802
    image = torch.empty(1, 3, 256, 256, device="meta")
    return (image, image) if hasattr(network, "head") else (None, image)


def test_unet_has_the_layers_and_parameters_of_the_paper():
    """Isola 2017, appendix 6.1.1. The authors' code prints 54.414 M parameters, without biases except the last."""
    with torch.device("meta"):
        network = built(Pix2Pix, spec_of(norm=nn.BatchNorm2d))
        found, images = layers(network)
        plain = built(Pix2Pix, spec_of())
    down, up = [64, 128, 256, 512, 512, 512, 512, 512], [512, 512, 512, 512, 256, 128, 64, 3]
    expected = [(4, 2, a, b) for a, b in zip([3, *down], down, strict=False)]
    expected += [(4, 2, a, b) for a, b in zip([512, 1024, 1024, 1024, 1024, 512, 256, 128], up, strict=True)]
    assert found == expected
    assert images.shape == (1, 3, 256, 256)
    assert count(network) - sum(down) - sum(up[:-1]) == 54_413_955
    assert count(network) - count(plain) == 2 * (sum(down[1:-1]) + sum(up[:-1]))
    dropouts = [module.p for module in reversed(network.up) for module in module if isinstance(module, nn.Dropout)]
    assert dropouts == [0.5, 0.5, 0.5, 0, 0, 0, 0]


@pytest.mark.parametrize(("blocks", "parameters"), [(9, 11_378_179), (6, 7_837_699)])
def test_residual_generator_has_the_layers_and_parameters_of_the_paper(blocks, parameters):
    """Zhu 2017, appendix 7.2. The authors' code prints 11.378 M parameters for 9 blocks."""
    with torch.device("meta"):
        network = built(CycleGan, spec_of(norm=lambda features: nn.InstanceNorm2d(features)), blocks=blocks)
        found, images = layers(network)
    expected = [(7, 1, 3, 64), (3, 2, 64, 128), (3, 2, 128, 256), *[(3, 1, 256, 256)] * (2 * blocks)]
    assert found == [*expected, (3, 2, 256, 128), (3, 2, 128, 64), (7, 1, 64, 3)]
    assert images.shape == (1, 3, 256, 256)
    assert count(network) == parameters
    assert sum(isinstance(module, nn.InstanceNorm2d) for module in network.modules()) == 2 * blocks + 5


def test_patch_discriminators_have_the_layers_and_parameters_of_the_paper():
    """Isola 2017, appendix 6.1.2. The authors' code has 2,768,705 parameters, without biases before batch norm."""
    with torch.device("meta"):
        network = built(ConditionalPatchGan, spec_of(norm=nn.BatchNorm2d))
        found, output = layers(network)
        alone = built(PatchGan, spec_of(norm=nn.BatchNorm2d))
    assert found == [(4, 2, 6, 64), (4, 2, 64, 128), (4, 2, 128, 256), (4, 1, 256, 512), (4, 1, 512, 1)]
    assert output.logits.shape == (1, 30, 30)
    assert count(network) - (128 + 256 + 512) == 2_768_705
    assert count(network) - count(alone) == 3 * 64 * 4 * 4


@pytest.mark.parametrize(("patch", "channels"), [(1, [2, 4]), (16, [2, 4]), (34, [2, 4, 8]), (70, [2, 4, 8, 16])])
def test_a_logit_depends_on_its_patch_of_image_and_source(patch, channels):
    side = max(2 * patch, 8)
    network = built(ConditionalPatchGan, spec_of((side, side), 3, 1), patch=patch, width=2)
    assert [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)] == [*channels, 1]
    image, source = (torch.rand(1, channels, side, side, requires_grad=True) for channels in (3, 1))
    logits = network(image, source).logits
    middle = logits.shape[1] // 2
    for gradient in torch.autograd.grad(logits[0, middle, middle], (image, source)):
        rows, columns = gradient[0].abs().sum(0).nonzero().T
        assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == patch


def test_unconditional_patches_ignore_the_source():
    network = built(PatchGan, spec_of((16, 16)), patch=16, width=2)
    image = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(image, None).logits, network(image, image).logits)


@pytest.mark.parametrize("plugin_class", [Pix2Pix, CycleGan])
@pytest.mark.parametrize("size", [(5, 5), (8, 12), (28, 28), (31, 17), (64, 64)])
def test_images_have_any_size(plugin_class, size):
    network = built(plugin_class, spec_of(size, 3, 1), width=2).eval()
    source = torch.rand(2, 1, *size) * 2 - 1
    images = network(None, source)
    assert images.shape == (2, 3, *size)
    assert images.abs().max() <= 1
    assert torch.equal(images, network(torch.rand(2, 7), source)), "dropout acts in samples, or z is used"


def test_skip_connections_carry_each_pixel():
    """Without the inner layers, the U-Net still sees the source at full resolution."""
    network = built(Pix2Pix, spec_of((32, 32), 1, 1), width=2, dropout=0.0).eval()
    source = torch.rand(1, 1, 32, 32, requires_grad=True)
    network.up[1].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    (gradient,) = torch.autograd.grad(network(None, source)[0, 0, 9, 9], source)
    rows, columns = gradient[0, 0].nonzero().T
    assert 0 < rows.max() - rows.min() < 8
    assert 0 < columns.max() - columns.min() < 8


def test_dropout_acts_in_training():
    network = built(Pix2Pix, spec_of((16, 16)), width=2)
    source = torch.rand(1, 3, 16, 16)
    assert not torch.equal(network(None, source), network(None, source))
    none = built(Pix2Pix, spec_of((16, 16)), width=2, dropout_layers=0)
    assert torch.equal(none(None, source), none(None, source))


def test_unsuitable_data_are_refused():
    with pytest.raises(InputError, match="pix2pix needs a source image for each image; choose the data image_pairs"):
        built(Pix2Pix, Spec(shape=(3, 8, 8)))
    other = Spec(shape=(3, 8, 8), condition=ImageCondition((3, 8, 4)))
    with pytest.raises(InputError, match="source images of the images' size, and these are 8x4, not 8x8"):
        built(ConditionalPatchGan, other)
    with pytest.raises(InputError, match=r"patches of 70 pixels need images of at least 24x24, and these are 16x23"):
        built(PatchGan, spec_of((16, 23)))
    for plugin_class, side, use in ((Pix2Pix, 1, "mlp"), (CycleGan, 4, "pix2pix")):
        with pytest.raises(InputError, match=f"images are {side}x{side}, and .* needs .* use {use}"):
            built(plugin_class, spec_of((side, side)))
