"""Agreement of units with parts, against naive counts; ablation in a generator whose units are known."""

import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gankit import Plugin, hookimpl
from gankit.explanation.dissection import LEVELS, Counts, agreement, count_pixels, iou, quantiles
from gankit.explanation.explain import ablate_parts, ablation_picture, ablation_sizes, explain_generator
from gankit.explanation.layers import Layer, ablated, default_layer, feature_maps, layers_of
from gankit.plugin.hooks import Hooks
from gankit.plugin.spec import Spec
from gankit.sampling.sampler import Sampler


def random_masks(*shape, share=0.3, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share


def test_iou_against_a_naive_count():
    a, b = random_masks(4, 5), random_masks(4, 5, seed=1)
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    assert iou(a, b) == sum(x and y for x, y in pairs) / sum(x or y for x, y in pairs)
    assert (iou(a, a), iou(a, ~a), iou(a & ~a, a & ~a)) == (1.0, 0.0, 0.0)


def entropy(counts):
    return -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts if count)


def test_counts_iou_and_information_against_naive_counts():
    values = torch.randn(300, generator=torch.Generator().manual_seed(2)).round(decimals=1)  # with equal values
    thresholds = torch.tensor([-1.0, 0.0, 0.0, 0.7, 9.0])
    masks = torch.stack([values + torch.randn(300) > 0.5, random_masks(300), torch.ones(300, dtype=torch.bool)], 1)
    counts = count_pixels(values, thresholds, masks)
    for q, threshold in enumerate(thresholds):
        for c, mask in enumerate(masks.T):
            cells = [0, 0, 0, 0]
            for value, inside in zip(values, mask, strict=True):
                cells[2 * bool(value > threshold) + bool(inside)] += 1
            neither, inside_only, above_only, both = cells
            assert (counts.both[q, c], counts.above[q, 0]) == (both, both + above_only)
            assert counts.inside[c] == both + inside_only
            expected = both / (300 - neither) if neither < 300 else 0
            assert counts.iou()[q, c].item() == pytest.approx(expected)
            joint = entropy(cells)
            mutual = entropy([both + above_only, inside_only + neither]) - joint
            mutual += entropy([both + inside_only, above_only + neither])
            ratio = counts.information_quality_ratio()[q, c].item()
            assert ratio == pytest.approx(mutual / joint if joint else 0, abs=1e-9)


def test_extreme_information_quality_ratios():
    def ratio(both, above, inside):
        tensors = (torch.tensor([[float(n)]]) for n in (both, above, inside))
        return Counts(*tensors, 8).information_quality_ratio().item()

    assert ratio(4, 4, 4) == pytest.approx(1)  # equal
    assert ratio(0, 4, 4) == pytest.approx(1)  # complement
    assert ratio(2, 4, 4) == pytest.approx(0)  # independent
    assert ratio(8, 8, 8) == ratio(0, 0, 0) == 0  # constant


def test_units_that_are_parts_have_an_agreement_of_one():
    masks = random_masks(8, 3, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    small = masks[:, :, ::2, ::2].float()
    found = agreement(torch.cat([small[:, [2, 0]] * 5 - 1, torch.randn(8, 1, 4, 4)], 1), masks)
    assert found.iou.shape == found.thresholds.shape == (3, 3)
    assert found.iou.argmax(1)[:2].tolist() == [2, 0]
    # Bilinear interpolation blurs the edges, so the agreement is not exact.
    assert (found.iou[0, 2] > 0.6) & (found.iou[1, 0] > 0.6) & (found.iou[2] < 0.5).all()
    exact = agreement(masks.float() * 5 - 1, masks)
    assert exact.iou.diag().tolist() == [1, 1, 1]


def test_the_threshold_is_chosen_on_the_first_half_only():
    masks, maps = random_masks(8, 1, 4, 4), torch.randn(8, 1, 4, 4)
    maps[4:] = masks[4:].float() * 9
    assert agreement(maps, masks).thresholds < 4


def test_quantiles():
    assert quantiles(torch.arange(101.0).flip(0), (0.05, 0.5, 0.995)).tolist() == [5, 50, 100]
    assert list(LEVELS) == sorted(LEVELS)


class PartGenerator(nn.Module):
    """Generator with four units. Unit k draws a square in colour channel k. Unit 3 is not drawn."""

    def __init__(self):
        super().__init__()
        self.units = nn.Identity()
        self.to_image = nn.Upsample(scale_factor=2)

    def forward(self, z, condition):
        y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        centre = 2 + 4 * torch.sigmoid(2 * z)  # (B, 32)
        maps = [((y - centre[:, k, None, None]).abs() < 1.6) & ((x - centre[:, k + 4, None, None]).abs() < 1.6)
                for k in range(4)]  # fmt: skip
        return self.to_image(self.units(torch.stack(maps, 1).float())[:, :3]) * 2 - 1


class Prior(Plugin):
    """Normal prior with 32 numbers. Source: none."""

    name, kind = "prior", "latent"

    @hookimpl
    def sample_latent(self, count, generator):
        return torch.randn(count, 32, generator=generator)


def sampler_of(generator, side):
    hooks = Hooks({"latent": Prior(Prior.Config())})
    return Sampler(generator, hooks, Spec((3, side, side), latent_size=32), torch.device("cpu"))


@pytest.fixture
def sampler():
    return sampler_of(PartGenerator(), 16)


NAMES = ("red", "green", "blue")


def parts(images, fields):
    assert images.dtype == torch.uint8
    assert not fields
    return {name: images[:, channel] > 127 for channel, name in enumerate(NAMES)}


def test_each_part_is_drawn_by_its_unit(sampler):
    (layer,) = layers_of(sampler)
    assert layer == ("units", 4, 8, 8)
    pictures, units, ablations = explain_generator(sampler, layer, parts)
    assert {unit.part: unit.unit for unit in units} == {"red": 0, "green": 1, "blue": 2}
    assert all(unit.iou > 0.75 and unit.mean > 0 and unit.images == () for unit in units)
    alone = [ablation for ablation in ablations if len(ablation.units) == 1]
    assert sorted((one.part, one.units) for one in alone) == [("blue", (2,)), ("green", (1,)), ("red", (0,))]
    for ablation in ablations:
        assert ablation.remaining == 0
        mean, low, high = ablation.random
        assert 0 <= low <= mean <= high <= 1
        assert ablation.area > 0.05
    # A random unit removes a part only if it is the unit of the part.
    assert {one.random[1:] for one in alone} <= {(0.0, 1.0), (1.0, 1.0)}
    assert {len(ablation.units) for ablation in ablations} == {1, 2}
    assert pictures["generator-units"].height > 3 * 64
    assert pictures["generator-ablation"].height > 6 * 64


def test_ablation_of_other_units_changes_nothing(sampler):
    wrong = torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1]])  # unit 3 has the largest IoU of all parts
    found = ablate_parts(sampler, Layer("units", 4, 8, 8), parts, NAMES, wrong, 0)
    assert [one.remaining for one in found if len(one.units) == 1] == [1, 1, 1]


def test_the_picture_of_an_ablation(sampler):
    ious = torch.eye(4)[:, :3] * torch.tensor([0.7, 0.9, 0.8])
    z = sampler.latent(9, None, 0)
    images = torch.cat([*sampler.images(z, None)])
    masks = torch.stack([*parts(images, {}).values()], 1)
    layer = Layer("units", 4, 8, 8)
    picture = numpy.asarray(ablation_picture(sampler, layer, NAMES, ious, masks, z, None))[:, -8 * 68 :]
    rows = [picture[4 + 68 * row : 68 * (row + 1)] for row in range(6)]
    for before, after, channel in zip(rows[::2], rows[1::2], (1, 2, 0), strict=True):
        assert (before[..., channel] == 255).mean() > (after[..., channel] == 255).mean()


def test_numbers_of_units():
    assert [ablation_sizes(units) for units in (1, 2, 3, 4, 9)] == [[1], [1], [1], [1, 2], [1, 2, 4]]


def test_without_parts_the_most_active_units_are_shown(sampler):
    pictures, units, ablations = explain_generator(sampler, Layer("units", 4, 8, 8), lambda images, fields: {})
    assert sorted(unit.unit for unit in units) == [0, 1, 2, 3]
    assert [unit.mean for unit in units] == sorted((unit.mean for unit in units), reverse=True)
    assert (ablations, {unit.part for unit in units}) == ([], {""})
    assert pictures.keys() == {"generator-units"}
    assert pictures["generator-units"].height > 4 * 64


def test_units_in_groups_give_the_same_result(sampler, monkeypatch):
    layer = Layer("units", 4, 8, 8)
    expected = explain_generator(sampler, layer, parts)[1]
    monkeypatch.setattr("gankit.explanation.explain.MAX_VALUES", 1)
    assert explain_generator(sampler, layer, parts)[1] == expected


def test_hooks_are_removed(sampler):
    z = sampler.latent(3, None, 0)
    before = torch.cat([*sampler.outputs(z, None)])
    with ablated(sampler.generator, "units", [0, 2]):
        changed = torch.cat([*sampler.outputs(z, None)])
    assert (changed[:, [0, 2]] == -1).all()
    assert torch.equal(changed[:, 1], before[:, 1])
    maps = feature_maps(sampler, "units", z, None, slice(1, 3))
    assert torch.equal(F.interpolate(maps, scale_factor=2) * 2 - 1, before[:, 1:3])
    layers_of(sampler)
    assert torch.equal(torch.cat([*sampler.outputs(z, None)]), before)
    assert not any(module._forward_hooks for module in sampler.generator.modules())


class OddGenerator(nn.Module):
    """Generator with layers that `layers_of` must merge or leave out."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(inplace=True))
        self.shared, self.some, self.pool = nn.Identity(), nn.Identity(), nn.AdaptiveAvgPool2d(1)
        self.wide = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, z, condition):
        x = self.block(z.view(-1, 2, 4, 4))
        x = self.shared(self.shared(x * 2)) + self.pool(x)
        self.some(x[:2] + 1)
        return self.wide(F.interpolate(x, scale_factor=2))


def test_layers_are_merged_and_left_out():
    assert layers_of(sampler_of(OddGenerator(), 8)) == [Layer("block", 5, 4, 4)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [("abc", "c"), ("abcf", "c"), ("abcd", "c"), ("d", "d"), ("abe", "b"), ("ae", "a"), ("e", "e"), ("f", "f")],
)
def test_default_layer(names, expected):
    layers = {
        "a": Layer("a", 9, 4, 4),
        "b": Layer("b", 9, 8, 8),
        "c": Layer("c", 9, 8, 8),
        "d": Layer("d", 9, 16, 16),  # too large
        "e": Layer("e.inner", 9, 8, 8),  # nested
        "f": Layer("f", 3, 8, 8),  # an image
    }
    assert default_layer([layers[name] for name in names], 3, 16) == layers[expected]
