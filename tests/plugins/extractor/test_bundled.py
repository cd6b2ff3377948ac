"""Bundled feature networks and the linear classifier of a dataset's classes."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

import gankit_plugins.extractor
from gankit import ClassCondition, Dataset
from gankit.testing.stand_in import STAND_IN, stand_in_accelerator
from gankit_plugins.extractor.bundled import NETWORKS, Bundled, load_network, resize
from gankit_plugins.extractor.class_head import discriminant, is_at_chance
from gankit_plugins.extractor.feature_network import FeatureNetwork
from gankit_plugins.metric.frechet_distance import frechet_distance_between

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))


def dataset(images, labels=None, names=()):
    return Dataset(tuple(images.shape[1:]), ClassCondition.of(names), lambda: (images, labels))


def stripes(count=120, channels=3, size=32, seed=0):
    """Return images of horizontal stripes (class 0) and of vertical stripes (class 1), with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    wave = (torch.arange(size) // 4 % 2).float()
    pattern = torch.where(labels.view(-1, 1, 1) == 0, wave.view(1, -1, 1), wave.view(1, 1, -1))
    colours = torch.rand(count, channels, 1, 1, generator=generator) * 150 + 50
    noise = torch.randn(count, channels, size, size, generator=generator) * 10
    return (pattern[:, None] * colours + noise).clamp(0, 255).to(torch.uint8), labels


def build(data):
    return Bundled(Bundled.Config()).build_extractor(data, CPU)


def test_the_networks_are_small_and_say_what_they_are():
    files = list(Path(gankit_plugins.extractor.__file__).parent.glob("*.safetensors"))
    assert sorted(path.stem for path in files) == sorted(name for name, _ in NETWORKS.values())
    assert sum(path.stat().st_size for path in files) < 4_000_000
    for channels, least in ((1, 0.98), (3, 0.88)):
        _, facts, _ = load_network(channels)
        assert float(facts["accuracy"]) > least


@pytest.mark.parametrize("channels", [1, 3])
def test_the_features_are_the_averages_of_the_last_maps(channels):
    images, _ = stripes(8, channels)
    network, _, _ = load_network(channels)
    size = NETWORKS[channels][1]
    scaled = images.float() / 127.5 - 1
    if size != 32:
        scaled = interpolate(scaled, (size, size), mode="bilinear", antialias=True)
    with torch.no_grad():
        maps = network.blocks(network.stem(scaled))
    extractor = build(dataset(images))
    torch.testing.assert_close(extractor(images).values, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert extractor(images).logits is None


def test_parameters_of_the_network():
    convolutions = [
        (3, 32, 3),
        (32, 32, 3),
        (32, 32, 3),
        (32, 64, 3),
        (64, 64, 3),
        (32, 64, 1),
        (64, 64, 3),
        (64, 64, 3),
    ]
    convolutions += [(64, 128, 3), (128, 128, 3), (64, 128, 1), (128, 128, 3), (128, 128, 3)]
    expected = sum(a * b * k * k + b for a, b, k in convolutions) + 128 * 10 + 10
    assert sum(p.numel() for p in FeatureNetwork(3, 10).parameters()) == expected


def test_images_are_resized_with_antialiasing():
    fine = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    assert resize(fine, 32)[..., 4:-4].abs().max() < 0.05
    assert resize(fine[..., :32, :32], 32).abs().max() == 1


def test_classes_are_those_of_the_dataset():
    images, labels = stripes()
    extractor = build(dataset(images, labels, ("rows", "columns")))
    fresh, fresh_labels = stripes(40, seed=7)
    assert extractor.class_names == ("rows", "columns")
    assert (extractor(fresh).logits.argmax(1) == fresh_labels).double().mean() > 0.95
    assert extractor.facts["class accuracy"] > 0.9


def test_classes_at_chance_are_not_used():
    images, labels = stripes(200)
    extractor = build(
        dataset(images, labels[torch.randperm(200, generator=torch.Generator().manual_seed(1))], ("a", "b"))
    )
    assert extractor.class_names == ()
    assert "at chance: no class metrics" in extractor.facts["class accuracy"]


def test_a_distance_grows_with_blur_and_is_zero_for_equal_images():
    images, _ = stripes(200)
    extractor = build(dataset(images))

    def blurred(width):
        return interpolate(avg_pool2d(images.float(), width), 32).to(torch.uint8)

    real = extractor(images).values
    values = [frechet_distance_between(real, extractor(blurred(width)).values).item() for width in (1, 2, 4, 8)]
    assert 0 <= values[0] < 1e-6
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("images", "message"),
    [(torch.zeros(9, 2, 8, 8, dtype=torch.uint8), "2 channels"), (torch.zeros(9, 1, 8, 8), "not uint8 images")],
)
def test_other_data_are_refused_with_a_way_out(images, message):
    with pytest.raises(ValueError, match=message):
        build(dataset(images))


def test_discriminant_equals_the_optimal_rule_for_known_gaussians():
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    labels = torch.arange(6000) % 3
    features = means[labels] + torch.randn(6000, 2, generator=generator)
    weight, bias = discriminant(features, labels, 4)
    nearest = torch.cdist(features, means).argmin(1)
    predicted = (features.double() @ weight.T + bias).argmax(1)
    assert (predicted == nearest).double().mean() > 0.98
    assert bias[3] == -torch.inf
    # With unit covariance, the weights are the means, up to the error of the estimate and the shrinkage.
    torch.testing.assert_close(weight[:3].float(), means, atol=0.25, rtol=0)


def test_the_limit_of_chance():
    labels = torch.arange(100) % 2
    deviation = math.sqrt(0.25 / 100)
    for right, expected in ((50, True), (int(100 * (0.5 + 2 * deviation)), True), (61, False)):
        assert is_at_chance(torch.arange(100) < right, labels) is expected
    assert is_at_chance(torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.long))


def test_one_process_may_use_two_devices():
    """The network is cached. Building an extractor for another device must not move the network of the first one."""
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    dataset = Dataset((3, 32, 32), None, lambda: (images, None))
    plugin = Bundled(Bundled.Config())
    on_cpu = plugin.build_extractor(dataset, torch.device("cpu"))
    expected = on_cpu(images).values
    with stand_in_accelerator():
        values = plugin.build_extractor(dataset, torch.device(STAND_IN))(images).values
    assert values.device.type == "cpu"
    torch.testing.assert_close(values, expected)
    assert torch.equal(on_cpu(images).values, expected)
