"""All generators and discriminators: their sizes, use of labels, independence of the batch, gradients and waits."""

import pytest
import torch

from gankit import InputError
from gankit.plugin.registry import Registry

PLUGINS = {entry.label: entry for entry in Registry.installed().entries}
STYLE = {"channel_base": 24, "max_channels": 6}
NETWORKS = [
    ("generator.mlp", {"hidden": [8, 6]}),
    ("generator.dcgan", {"width": 4}),
    ("generator.conditional_dcgan", {"width": 4}),
    ("generator.cgan", {"noise_units": 8, "label_units": 8, "joint_units": 16}),
    ("generator.igan", {"channels": 3}),
    ("generator.igan", {"channels": 3, "upsampling": "pixel_shuffle"}),
    ("generator.igan_vn", {"channels": 3}),
    ("generator.igan_vn", {"channels": 3, "upsampling": "pixel_shuffle"}),
    ("generator.sngan", {"width": 4}),
    ("generator.sngan", {"width": 3, "double_channels": True}),
    ("generator.r3gan", {"width": 4, "max_width": 8}),
    ("generator.biggan", {"width": 3, "embedding": 2}),
    ("generator.biggan", {"width": 4, "embedding": 2, "double_channels": False}),
    ("generator.fastgan", {"width": 6}),
    ("generator.began", {"width": 3}),
    ("generator.stylegan", {**STYLE, "w_size": 6, "mapping_layers": 2, "noise": False}),
    ("generator.stylegan2", {**STYLE, "w_size": 6, "mapping_layers": 2, "noise": False}),
    ("discriminator.mlp", {"hidden": [8, 6]}),
    ("discriminator.began", {"width": 3, "code": 4}),
    ("discriminator.ebgan", {"width": 3, "halvings": 2}),
    ("discriminator.dcgan", {"width": 4}),
    ("discriminator.conditional_dcgan", {"width": 4}),
    ("discriminator.cgan", {"image_units": 8, "label_units": 8, "joint_units": 16}),
    ("discriminator.sngan", {"width": 4}),
    ("discriminator.sngan", {"width": 3, "double_channels": True}),
    ("discriminator.r3gan", {"width": 4, "max_width": 8}),
    ("discriminator.biggan", {"width": 3}),
    ("discriminator.biggan", {"width": 4, "double_channels": False}),
    ("discriminator.fastgan", {"width": 6}),
    ("discriminator.maxout", {"units": [8, 6]}),
    ("discriminator.stylegan", {**STYLE, "stddev_group": 0}),
    ("discriminator.stylegan2", {**STYLE, "stddev_group": 0}),
    ("discriminator.igan", {"width": 3}),
    ("discriminator.igan_per_class", {"width": 3}),
]
USE_LABELS = ("generator.biggan", "conditional_dcgan", "cgan", "igan_vn", "igan_per_class")
LABELS = torch.tensor([2, 0, 1, 1, 2, 0])
EACH = pytest.mark.parametrize(("label", "config"), NETWORKS)


def plugin(label, config=None):
    plugin_class = PLUGINS[label].load()
    return plugin_class(plugin_class.Config(**(config or {})))


@pytest.fixture
def make(spec_of):
    """Function that returns a network for three classes, as a function to one tensor, and its inputs."""

    def build(label, config, normalization="none", channels=3, resolution=8):
        torch.manual_seed(0)
        spec = spec_of(normalization, channels=channels, resolution=resolution, classes=3, latent_size=6)
        if label.startswith("generator"):
            return plugin(label, config).build_generator(spec=spec).double(), torch.randn(6, 6, dtype=torch.float64)
        network = plugin(label, config).build_discriminator(spec=spec).double()
        return network, torch.randn(6, channels, resolution, resolution, dtype=torch.float64)

    return build


def output(network, x, labels):
    """Return images or logits."""
    result = network(x, labels)
    return result if isinstance(result, torch.Tensor) else result.logits


@EACH
def test_output_depends_on_labels_or_ignores_them(make, perturbed, label, config):
    network, x = make(label, config)
    perturbed(network).eval()
    outputs = output(network, x[:1].expand(3, *x.shape[1:]), torch.arange(3))
    if label in USE_LABELS or label.partition(".")[2] in USE_LABELS:
        assert all((outputs[i] - outputs[j]).abs().max() > 1e-4 for i, j in ((0, 1), (0, 2), (1, 2)))
    else:
        assert torch.equal(output(network, x, LABELS), output(network, x, None))


@EACH
@pytest.mark.parametrize("normalization", ["none", "batch_norm"])
@pytest.mark.parametrize("labels", [[1, 0, 0, 2, 0, 1], [2, 2, 2, 2], [0]], ids=["uneven", "one class", "one image"])
def test_in_evaluation_mode_each_image_is_independent_of_its_batch(
    make, perturbed, label, config, normalization, labels
):
    network, x = make(label, config, normalization)
    perturbed(network).eval()
    labels = torch.tensor(labels)
    singles = [output(network, x[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
    torch.testing.assert_close(output(network, x[: len(labels)], labels), torch.cat(singles), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("label", "config", "resolution"),
    [
        *((*network, R) for network in NETWORKS if "generator.igan" in network[0] for R in (4, 8, 20, 28, 44, 64, 96)),
        *(
            (*network, R)
            for network in NETWORKS
            if network[0].endswith(("dcgan", "sngan", "r3gan", "biggan"))
            for R in (4, 5, 8, 28, 29, 31, 48, 100, 128)
        ),
        *(
            (*network, R)
            for network in NETWORKS
            if network[0].endswith((".mlp", ".cgan", ".maxout"))
            for R in (1, 5, 28)
        ),
    ],
)
def test_sizes(make, label, config, resolution):
    channels = {4: 4, 8: 1, 29: 1}.get(resolution, 3)
    network, x = make(label, config, "batch_norm", channels=channels, resolution=resolution)
    result = network(x * 50, LABELS)
    if label.startswith("generator"):
        assert result.shape == (6, channels, resolution, resolution)
        assert result.abs().max() <= 1
    else:
        assert result.logits.shape == (6,)
        torch.testing.assert_close(result.logits, network.head(result.features).flatten())


@EACH
def test_memory_format_does_not_change_the_output(make, label, config):
    network, x = make(label, config)
    network.eval()
    expected = output(network, x, LABELS)
    network.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    torch.testing.assert_close(output(network, x, LABELS), expected, rtol=0, atol=1e-10)


@EACH
@pytest.mark.parametrize("normalization", ["none", "batch_norm"])
def test_gradients_reach_every_parameter_without_waiting(
    make, no_waiting, perturbed, before_batch_norm, label, config, normalization
):
    """Except the biases that a batch norm removes."""
    network, x = make(label, config, normalization)
    if label.endswith("r3gan"):
        perturbed(network)  # Its residual branches begin with 0 in the last layer, so no gradient reaches the others.
    with no_waiting:
        result = output(network, x, LABELS)
        (result * torch.randn_like(result)).sum().backward()
    idle = {name for name, p in network.named_parameters() if p.grad.abs().max() < 1e-9}
    removed = before_batch_norm(network)
    if label in ("generator.sngan", "generator.biggan") and normalization == "batch_norm":
        # A bias at the end of a block passes through all shortcuts as a constant, until the last batch norm removes it.
        removed |= {f"body.{i}.{end}.bias" for i in range(len(network.body)) for end in ("residual.3", "shortcut.0")}
    if label == "generator.stylegan":
        # The constant input has equal pixels at first, so the normalisation removes its bias.
        removed = {"synthesis.body.0.activation.bias"}
    assert idle == removed


@pytest.mark.parametrize("normalization", ["none", "batch_norm"])
@pytest.mark.parametrize("label", ["generator.igan", "generator.igan_vn"])
def test_shortcut_of_igan_has_a_gradient_without_the_long_path(make, label, normalization):
    network, z = make(label, {"channels": 3}, normalization, resolution=12)

    def gradient_without(path):
        """Return the gradient of a layer before both paths, after the output of this path is set to 0."""
        path.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        network.zero_grad()
        (network(z, LABELS) * torch.randn(12, 12)).sum().backward()
        return network.to_small.weight.grad

    assert gradient_without(network.long_way).abs().sum(1).min() > 0
    assert gradient_without(network.short_cut) is None


@pytest.mark.parametrize("label", ["generator.igan_vn", "discriminator.igan_per_class"])
def test_uneven_labels_are_refused_in_training_mode(make, label):
    network, x = make(label, {})
    with pytest.raises(InputError, match="class_balanced"):
        network(x, torch.tensor([0, 1, 1, 1, 2, 2]))
    with pytest.raises(InputError, match="5 images cannot be split evenly among 3 classes"):
        network(x[:5], LABELS[:5])


@pytest.mark.parametrize(
    ("label", "config", "features"),
    [
        ("generator.mlp", {"hidden": [6, 5]}, [6, 5]),
        ("generator.cgan", {}, [200, 1000, 1200]),
        # All but the image and D's first feature map (Radford 2015, section 3).
        ("generator.dcgan", {"width": 2}, [4, 2]),
        ("discriminator.mlp", {"hidden": [3]}, [3]),
        ("discriminator.dcgan", {"width": 2}, [4]),
        ("generator.began", {"width": 2}, [2] * 4),
        ("discriminator.began", {"width": 2}, [2, 2, 4, 4] + [2] * 4),
        ("discriminator.ebgan", {"width": 2}, [4, 8, 4, 2]),
        ("discriminator.maxout", {"units": [6], "pieces": 5}, [30]),
        (
            "discriminator.cgan",
            {"image_units": 4, "label_units": 3, "pieces": 2, "joint_units": 5, "joint_pieces": 3},
            [8, 6, 15],
        ),
        ("discriminator.igan_per_class", {"width": 2}, [3 * c for c in (2, 2, 4, 4)]),
    ],
)
def test_normalized_layers(spec_of, label, config, features):
    calls = []
    spec = spec_of(channels=1, resolution=12, classes=3)
    spec.normalize = lambda player, layer, count: calls.append((player, layer, count)) or layer
    kind = label.partition(".")[0]
    getattr(plugin(label, config), f"build_{kind}")(spec=spec)
    assert [count for _, _, count in calls] == features
    for player, layer, count in calls:
        assert player == kind
        assert getattr(layer, "out_features", None) or layer.out_channels == count


@pytest.mark.parametrize(
    ("label", "classes", "conditional", "balanced"),
    [
        ("generator.cgan", 3, True, False),
        ("generator.conditional_dcgan", 3, True, False),
        ("generator.igan_vn", 0, False, False),
        ("generator.igan_vn", 1, False, False),
        ("generator.igan_vn", 2, True, True),
        ("generator.igan_v2", 2, True, True),
        ("discriminator.igan_per_class", 0, False, False),
        ("discriminator.igan_per_class", 1, False, False),
        ("discriminator.igan_per_class", 2, False, True),
    ],
)
def test_spec(spec_of, label, classes, conditional, balanced):
    specs = [spec_of(classes=classes, class_balanced=before) for before in (False, True)]
    for spec in specs:
        plugin(label).adjust_spec(spec=spec)
        assert spec.conditional is conditional
    assert [spec.class_balanced for spec in specs] == [balanced, True]


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        ("generator.cgan", 0, "cgan needs labels, and the dataset has none; use mlp"),
        ("generator.conditional_dcgan", 0, "conditional_dcgan needs labels, and the dataset has none; use dcgan"),
        ("discriminator.cgan", 0, "cgan needs labels, and the dataset has none; use maxout"),
        ("discriminator.conditional_dcgan", 0, "conditional_dcgan needs labels, and the dataset has none; use dcgan"),
        *(
            ("generator.igan_v2", n, f"igan_v2 needs two classes, and the dataset has {n}; use igan_vn")
            for n in (0, 1, 3)
        ),
    ],
)
def test_other_numbers_of_classes_are_refused(spec_of, label, classes, message):
    with pytest.raises(InputError, match=message):
        plugin(label).adjust_spec(spec=spec_of(classes=classes))
