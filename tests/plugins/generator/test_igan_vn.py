"""Generator `igan_vn`."""

import pytest
import torch
from torch import nn

from gankit_plugins.generator.igan_vn import IganVn, IganVnGenerator

UPSAMPLING = ["transposed", "pixel_shuffle"]
NORMALIZATION = ["none", "batch_norm"]
BY_CLASS = ("small_branch", "large_branch", "to_image")

ORDER = [2, 0, 1, 1, 2, 0, 0, 2, 1, 0, 1, 2]
"""Four images of each of three classes, in no order."""


def built(spec, **config):
    torch.manual_seed(0)
    return IganVn(IganVn.Config(**config)).build_generator(spec=spec)


def z_of(count, dtype=torch.float64):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


CONVOLUTION = 64 * 64 * 3 * 3 + 64
STEP_OF_TWO = 64 * 64 * 4 * 4 + 64
STEP_OF_THREE = 64 * 64 * 5 * 5 + 64
SHARED = (
    (100 * 1024 + 1024)  # z to 4x4x64
    + (100 * 36_864 + 36_864)  # z to 24x24x64
    # The long way, 4 to 8, 16, 32 and 96: a convolution before each step and one more behind it.
    + 3 * (CONVOLUTION + STEP_OF_TWO + CONVOLUTION)
    + (CONVOLUTION + STEP_OF_THREE + CONVOLUTION)
    + (64 * 64 * 24 * 24 + 64)  # the short cut
)
EACH_CLASS = (
    CONVOLUTION  # the branch off the sum of the shared ways
    + 2 * (STEP_OF_TWO + CONVOLUTION)  # the larger map: 24 to 48 to 96
    + (64 * 3 * 3 * 3 + 3)  # the image
)
# A scale and a shift for each channel: behind the long way's twelve layers and the short cut; and for each class
# behind its five layers and behind its image.
SHARED_NORMS, NORMS_OF_EACH_CLASS = 13 * 2 * 64, 5 * 2 * 64 + 2 * 3


@pytest.mark.parametrize("classes", [1, 2, 10])
@pytest.mark.parametrize("normalization", NORMALIZATION)
def test_shapes_and_size_at_the_papers_resolution(spec_of, normalization, classes):
    assert (SHARED, EACH_CLASS) == (6_780_736, 243_715)
    parameters = SHARED + classes * EACH_CLASS
    if normalization == "batch_norm":
        parameters += SHARED_NORMS + classes * NORMS_OF_EACH_CLASS
    with torch.device("meta"):
        network = built(spec_of(normalization, channels=3, resolution=96, classes=classes))
        shapes = {}
        for name in ("long_way", "short_cut", "small_branch", "large_branch", "to_image"):
            getattr(network, name).register_forward_hook(
                lambda module, inputs, output, name=name: shapes.update({name: tuple(output.shape)})
            )
        images = network(torch.empty(2 * classes, 100), torch.arange(2 * classes) % classes)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert images.shape == (2 * classes, 3, 96, 96)
    assert shapes == {
        # The trunk sees every image, a branch those of its class: 2 rows of `classes` groups.
        "long_way": (2 * classes, 64, 96, 96),
        "short_cut": (2 * classes, 64, 96, 96),
        "small_branch": (2, classes * 64, 96, 96),
        "large_branch": (2, classes * 64, 96, 96),
        "to_image": (2, classes * 3, 96, 96),
    }


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("normalization", NORMALIZATION)
@pytest.mark.parametrize("resolution", [4, 12])
def test_classes_at_once_are_branches_one_by_one(
    spec_of, tensors_of_class, perturbed, resolution, normalization, upsampling
):
    """Images, gradients and running averages are equal in training mode."""
    spec = spec_of(normalization, channels=3, resolution=resolution, latent_size=6, classes=3)
    network = perturbed(built(spec, channels=2, upsampling=upsampling)).double()
    singles = []
    for k in range(3):
        one_class = spec_of(normalization, channels=3, resolution=resolution, latent_size=6)
        singles.append(built(one_class, channels=2, upsampling=upsampling).double())
        singles[k].load_state_dict(tensors_of_class(network.state_dict(), singles[k].state_dict(), 3, k))
    labels = torch.tensor(ORDER)
    z, z_alone = z_of(12).requires_grad_(), z_of(12).requires_grad_()
    images = network(z, labels)

    trunk = singles[0]
    small = trunk.to_small(z_alone).reshape(12, 2, 4, 4)
    large = trunk.to_large(z_alone).reshape(12, 2, resolution // 4, resolution // 4)
    shared = trunk.long_way(small) + trunk.short_cut(small)
    expected = torch.zeros_like(images)
    for k, single in enumerate(singles):
        own = (labels == k).nonzero().flatten()
        branches = single.small_branch(shared[own]) + single.large_branch(large[own])
        expected = expected.index_copy(0, own, single.to_image(branches))
    close(images, expected)

    weights = torch.randn_like(images)
    (images * weights).sum().backward()
    (expected * weights).sum().backward()
    close(z.grad, z_alone.grad)
    for k, single in enumerate(singles):
        parameters, state = dict(single.named_parameters()), single.state_dict()
        gradients = tensors_of_class({n: p.grad for n, p in network.named_parameters()}, parameters, 3, k)
        states = tensors_of_class(network.state_dict(), state, 3, k)
        for name, gradient in gradients.items():
            if name.startswith(BY_CLASS):
                close(gradient, parameters[name].grad)
            else:
                close(gradient, trunk.get_parameter(name).grad)
        for name, value in states.items():
            close(value, (state if name.startswith(BY_CLASS) else trunk.state_dict())[name])


def test_layers_of_the_long_way_and_the_branches(spec_of):
    """IGAN_v2 adds a convolution of stride 1 after every step of IGAN."""
    network = built(spec_of("batch_norm", channels=3, resolution=96, latent_size=6, classes=2), channels=2)

    def layers(part):
        """Return (kernel, stride, groups) of a layer."""
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        return [(m.kernel_size[0], m.stride[0], m.groups) for m in part.modules() if isinstance(m, kinds)]

    convolution, by_class = (3, 1, 1), (3, 1, 2)
    assert layers(network.long_way) == [convolution, (4, 2, 1), convolution] * 3 + [convolution, (5, 3, 1), convolution]
    assert layers(network.short_cut) == [(24, 24, 1)]
    assert layers(network.small_branch) == [by_class]
    assert layers(network.large_branch) == [(4, 2, 2), by_class] * 2
    assert layers(network.to_image) == [by_class]
    leaves = [m for m in network.modules() if not list(m.children())]
    assert {m.negative_slope for m in leaves if isinstance(m, nn.LeakyReLU)} == {0.02}
    assert sum(isinstance(m, nn.LeakyReLU) for m in leaves) == 13 + 5
    assert sum(isinstance(m, nn.Tanh) for m in leaves) == 1


def test_settings_reach_the_network(spec_of):
    spec = spec_of("batch_norm", channels=1, resolution=8, latent_size=7, classes=3)
    network = built(spec, channels=5, upsampling="pixel_shuffle", normalize_output=False)
    assert isinstance(network, IganVnGenerator)
    assert network.to_small.weight.shape == (4 * 4 * 5, 7)
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in network.large_branch.modules())
    assert [type(m) for m in network.to_image] == [nn.Conv2d, nn.Tanh]
