"""BigGAN's networks: table 4 and the size in table 1, the parts of z, the shared embedding, and whole runs."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gankit import ClassCondition, InputError, Sampler, Spec, VectorCondition
from gankit.sampling.generator_file import save_generator
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.discriminator.biggan import BigGanDiscriminator
from gankit_plugins.discriminator.sngan import SnganDiscriminator
from gankit_plugins.generator.biggan import BigGan
from gankit_plugins.layers.modulation import Modulation
from gankit_plugins.trick.self_attention import SelfAttentionTrick


def norms(player, layer, features):
    return nn.Sequential(layer, nn.BatchNorm2d(features)) if player == "generator" else layer


def spec_of(shape, latent_size=12, classes=3, normalize=norms):
    condition = ClassCondition.of(tuple(map(str, range(classes))))
    return Spec(shape=shape, latent_size=latent_size, condition=condition, normalize=normalize)


def generator(spec, **config):
    return BigGan(BigGan.Config(**config)).build_generator(spec)


def discriminator(spec, **config):
    return BigGanDiscriminator(BigGanDiscriminator.Config(**config)).build_discriminator(spec)


def size_of(network):
    return sum(p.numel() for p in network.parameters())


def conv(before, after, kernel=3):
    return before * after * kernel**2 + after


def up(before, after):
    """Return the parameters of a block of G, whose vectors have 20 numbers of z and 128 of the embedding."""
    modulations = 2 * (20 + 128) * (before + after)
    return modulations + conv(before, after) + conv(after, after) + conv(before, after, 1)


def down(before, after, shortcut=True):
    return conv(before, after) + conv(after, after) + shortcut * conv(before, after, 1)


def attention(channels):
    return 4 * channels * channels // 8 + 1


@pytest.mark.parametrize(("ch", "millions"), [(96, 158.3), (64, 71.3)])
def test_networks_of_table_4(ch, millions):
    """Table 1 has the number of parameters of both networks. It fits if the shared embedding does not count."""
    spec = spec_of((3, 128, 128), 120, 1000)
    attended = SelfAttentionTrick(SelfAttentionTrick.Config(side=64))
    with torch.device("meta"):
        G = attended.wrap_network("generator", generator(spec, width=ch), None, spec)
        run = SimpleNamespace(spec=spec)
        D = attended.wrap_network("discriminator", discriminator(spec, width=ch), run, spec)
        maps = {"G": [], "D": []}
        for name, parts in (("G", (G.from_z, *G.body)), ("D", D.body)):
            for part in parts:
                part.register_forward_hook(lambda module, x, y, name=name: maps[name].append(tuple(y.shape[1:])))
        images = G(torch.empty(2, 120), torch.zeros(2, dtype=torch.int64))
        logits, features, _ = D(images, None)
    assert images.shape == (2, 3, 128, 128)
    assert maps["G"] == [
        (k * ch, size, size) for k, size in zip((16, 16, 8, 4, 2, 1), (4, 8, 16, 32, 64, 128), strict=True)
    ]
    assert maps["D"] == [
        (k * ch, size, size) for k, size in zip((1, 2, 4, 8, 16, 16), (64, 32, 16, 8, 4, 4), strict=True)
    ]
    assert (logits.shape, features.shape) == ((2,), (2, 16 * ch))
    pairs = [(a * ch, b * ch) for a, b in ((16, 16), (16, 8), (8, 4), (4, 2), (2, 1))]
    first = 21 * 4 * 4 * 16 * ch
    embedding = 1000 * 128
    assert size_of(G) == embedding + first + sum(up(*pair) for pair in pairs) + attention(2 * ch) + 2 * ch + conv(ch, 3)
    pairs = [(a * ch, b * ch) for a, b in ((1, 2), (2, 4), (4, 8), (8, 16))]
    last = down(16 * ch, 16 * ch, shortcut=False) + 16 * ch + 1
    assert size_of(D) == down(3, ch) + attention(ch) + sum(down(*pair) for pair in pairs) + last
    projection = 1000 * 16 * ch
    assert round((size_of(G) - embedding + size_of(D) + projection) / 1e6, 1) == millions


def test_networks_for_cifar10_have_the_channels_of_sngan():
    """Four levels of 256 channels, with an equal part of z each."""
    spec = spec_of((3, 32, 32), 128, 10)
    with torch.device("meta"):
        G = generator(spec, width=256, double_channels=False)
        D = discriminator(spec, width=128, double_channels=False)
        other = SnganDiscriminator(SnganDiscriminator.Config(width=128)).build_discriminator(spec)
        assert G(torch.empty(2, 128), torch.zeros(2, dtype=torch.int64)).shape == (2, 3, 32, 32)
    block = 4 * 256 * (32 + 128) + 2 * conv(256, 256) + conv(256, 256, 1)
    assert size_of(G) == 10 * 128 + 33 * 4 * 4 * 256 + 3 * block + 2 * 256 + conv(256, 3)
    assert [p.shape for p in D.parameters()] == [p.shape for p in other.parameters()]


def test_vectors_of_the_blocks_by_hand(perturbed):
    """Z has 7 numbers for three levels: the parts are 3, 2 and 2. All blocks have the same embedding of the class."""
    G = perturbed(generator(spec_of((3, 16, 16), 7, 4), width=2, embedding=5)).eval()
    z, labels = torch.randn(3, 7), torch.tensor([2, 0, 3])
    seen = []
    for module in G.modules():
        if isinstance(module, Modulation):
            module.register_forward_hook(lambda m, x, y: seen.append((m.source.vectors, m, x[0], y)))
    G(z, labels)
    assert len(seen) == 4
    expected = [torch.cat([part, G.embedding.weight[labels]], 1) for part in (z[:, 3:5], z[:, 5:7])]
    for number, (vectors, layer, x, y) in enumerate(seen):
        assert torch.equal(vectors, expected[number // 2])
        for b in range(3):
            for c in range(x.shape[1]):
                scale = 1 + sum(layer.scale.weight[c, k] * vectors[b, k] for k in range(7))
                shift = sum(layer.shift.weight[c, k] * vectors[b, k] for k in range(7))
                torch.testing.assert_close(y[b, c], scale * x[b, c] + shift)
    first = G.from_z[0]
    seen.clear()
    first.register_forward_hook(lambda m, x, y: seen.append(x[0]))
    G(z, labels)
    assert torch.equal(seen[0], z[:, :3])


def test_each_part_of_z_acts_at_its_level_only(perturbed):
    G = perturbed(generator(spec_of((3, 32, 32), 8, 2), width=2)).eval()
    maps = []
    for part in (G.from_z, *G.body):
        part.register_forward_hook(lambda m, x, y: maps.append(y))
    z, labels = torch.randn(1, 8), torch.tensor([1])
    for level in range(4):
        other = z.clone()
        other[:, 2 * level : 2 * level + 2] += 1
        maps.clear()
        G(z, labels), G(other, labels)
        assert [bool((a != b).any()) for a, b in zip(maps[:4], maps[4:], strict=True)] == [k >= level for k in range(4)]


def test_batch_norm_in_blocks_has_no_scale_of_its_own():
    G = generator(spec_of((3, 16, 16)), width=2)
    layers = [m for m in G.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [layer.affine for layer in layers] == [False] * 4 + [True]


def test_rows_or_columns_of_the_embedding_are_orthonormal():
    for classes, size in ((3, 5), (5, 3)):
        W = generator(spec_of((3, 8, 8), classes=classes), width=2, embedding=size).embedding.weight
        gram = W @ W.T if classes < size else W.T @ W
        torch.testing.assert_close(gram, torch.eye(3))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 64), (2, 4, 9), (4, 31, 17)])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("classes", [0, 3])
def test_rectangles_and_any_number_of_channels(shape, double, classes):
    spec = spec_of(shape, classes=classes)
    G = generator(spec, width=2, double_channels=double)
    images = G(torch.randn(3, 12), torch.arange(3) if classes else None)
    assert images.shape == (3, *shape)
    assert discriminator(spec, width=2, double_channels=double)(images, None).logits.shape == (3,)


def test_copy_during_training_is_whole_and_apart(perturbed):
    G = perturbed(generator(spec_of((3, 16, 16)), width=2))
    z, labels = torch.randn(4, 12), torch.tensor([0, 1, 2, 1])
    G(z, labels).sum().backward()
    copied = copy.deepcopy(G).eval()
    G.eval()
    assert torch.equal(copied(z, labels), G(z, labels))
    assert {id(m.source) for m in copied.modules() if isinstance(m, Modulation)} == {id(s) for s in copied.sources}
    assert not {id(s) for s in copied.sources} & {id(s) for s in G.sources}


SMALL = {BigGan: {"width": 4, "embedding": 3}, BigGanDiscriminator: {"width": 4}}
WHOLE = {
    "data": {"use": "shapes", "resolution": 8, "count": 24},
    "latent": {"use": "normal", "size": 12},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "spectral_norm"}},
    "tricks": {
        "orthogonal_init": {},
        "projection": {},
        "self_attention": {"side": 4},
        "spectral_weights": {},
        "relaxed_orthogonal_regularization": {},
        "moving_average": {"decay": 0.5},
        "standing_statistics": {"passes": 3},
    },
}


def test_run_with_all_parts_of_the_paper(tmp_path):
    run = train_iterations(tiny_run(SMALL, WHOLE), 2)
    images = run.sampled_generator()(torch.zeros(3, run.spec.latent_size), torch.arange(3))
    assert all((images[i] - images[j]).abs().max() > 1e-4 for i, j in ((0, 1), (0, 2), (1, 2)))
    layers = [m for m in run.generator.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert all(hasattr(layer, "parametrizations") for layer in layers)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors", "cpu")
    assert torch.equal(Sampler.of_run(run).sample(6)[0], loaded.sample(6)[0])
    assert "tricks.standing_statistics" not in loaded.card["needed"]


def test_it_resumes_exactly():
    check_resume(SMALL, WHOLE, before=1, after=2)


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"accumulate": 2}, {"channels_last": True}])
def test_other_ways_to_train(change):
    train_iterations(tiny_run(SMALL, WHOLE | {"train": change}), 2)


@pytest.mark.parametrize("other", ["skip_z", "dropout", "packing", "gradient_penalty", "r1"])
def test_with_other_tricks(other):
    train_iterations(tiny_run(SMALL, {"tricks": {other: {}}}), 1)


@pytest.mark.parametrize(
    "norm", ["none", "layer_norm", "instance_norm", "group_norm", "virtual_batch_norm", "spectral_norm"]
)
def test_with_other_normalisations(norm):
    train_iterations(tiny_run(SMALL, {"data": {"classes": 2}, "normalization": {"generator": {"use": norm}}}), 1)


def test_what_cannot_work_is_refused():
    change = {"data": {"classes": 2}, "normalization": {"generator": {"use": "conditional_batch_norm"}}}
    with pytest.raises(InputError, match="biggan computes the scales and shifts from its own class embedding"):
        tiny_run(SMALL, change)
    spec = Spec(shape=(3, 32, 32), condition=VectorCondition(("age",)))
    with pytest.raises(
        InputError, match="biggan works with classes or without a condition, and the data have 1 number: age"
    ):
        BigGan(BigGan.Config()).adjust_spec(spec)
    with pytest.raises(InputError, match=r"latent\.size: 3 values cannot be split among the 4 levels"):
        generator(spec_of((3, 32, 32), 3), width=2)
