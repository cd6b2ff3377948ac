"""Minibatch discrimination and minibatch standard deviation."""

import math

import pytest
import torch
from torch import nn

from gankit import DiscriminatorOutput
from gankit_plugins.layers.minibatch_stddev import mean_deviation
from gankit_plugins.trick.feature_head import ExtendedFeatures, same_class
from gankit_plugins.trick.minibatch_discrimination import closeness


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 0, 1]])
def test_closeness_by_a_naive_double_loop(labels):
    M = torch.randn(5, 3, 2, dtype=torch.float64)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for i in range(5):
        for j in range(5):
            if i != j and (labels is None or labels[i] == labels[j]):
                for b in range(3):
                    expected[i, b] += math.exp(-sum(abs(M[i, b, c] - M[j, b, c]).item() for c in range(2)))
    compared = None if labels is None else same_class(torch.tensor(labels))
    torch.testing.assert_close(closeness(M, compared), expected)


def test_closeness_of_one_image_is_0_and_of_equal_images_their_number():
    assert closeness(torch.randn(1, 3, 2), None).tolist() == [[0, 0, 0]]
    assert closeness(torch.ones(4, 2, 5), None).tolist() == [[3, 3]] * 4


def test_closeness_has_a_finite_gradient_where_all_are_equal():
    M = torch.ones(3, 2, 2, requires_grad=True)
    closeness(M, None).sum().backward()
    assert torch.isfinite(M.grad).all()


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 0, 1]])
def test_mean_deviation_by_a_naive_loop(labels):
    f = torch.randn(5, 4, dtype=torch.float64)
    for i in range(5):
        part = [j for j in range(5) if labels is None or labels[i] == labels[j]]
        deviations = []
        for k in range(4):
            values = [f[j, k].item() for j in part]
            mean = sum(values) / len(values)
            deviations.append(math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-8))
        compared = None if labels is None else same_class(torch.tensor(labels))
        assert mean_deviation(f, compared)[i].item() == pytest.approx(sum(deviations) / 4)


@pytest.mark.parametrize("count", [1, 4])
def test_equal_images_have_deviation_0_and_a_finite_gradient(count):
    f = torch.ones(count, 3, requires_grad=True)
    value = mean_deviation(f, None)
    assert value.flatten().tolist() == pytest.approx([1e-4] * count)
    value.sum().backward()
    assert torch.isfinite(f.grad).all()


def test_logits_equal_those_of_one_last_layer_over_all_features():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 1)

        def forward(self, images, labels):
            return DiscriminatorOutput(self.head(images).flatten(), images)

    class Doubled(nn.Module):
        def forward(self, features, labels):
            return 2 * features[:, :2]

    whole = ExtendedFeatures(Network(), Doubled(), 2)
    nn.init.normal_(whole.share.weight)
    x = torch.randn(4, 3)
    last = nn.Linear(5, 1)
    last.weight.data = torch.cat([whole.network.head.weight, whole.share.weight], dim=1)
    last.bias.data = whole.network.head.bias.data
    logits, features, _ = whole(x, None)
    torch.testing.assert_close(features, torch.cat([x, 2 * x[:, :2]], dim=1))
    torch.testing.assert_close(logits, last(features).flatten())


TRICKS = ["minibatch_discrimination", "minibatch_stddev"]


@pytest.mark.parametrize("trick", TRICKS)
def test_logits_depend_on_the_batch_or_on_the_class(start_run, trick):
    for base, others_count in (("igan", True), ("igan_vn", False)):
        one = start_run({"tricks": {trick: {}}}, base)
        one.discriminator.eval()
        nn.init.ones_(one.discriminator.share.weight)
        x, labels, _ = one.draw_real()
        changed = x.clone()
        changed[labels == 1] = changed[labels == 1].flip(2) * 0.3
        with torch.no_grad():
            before, after = (one.discriminator(images, labels)[0][labels == 0] for images in (x, changed))
        assert torch.allclose(before, after, atol=1e-6) is not others_count


@pytest.mark.parametrize("trick", TRICKS)
def test_initial_logits_equal_those_without_the_trick(start_run, trick):
    """An untrained D has similar features for all images, and a share of them would outweigh its own logits."""
    one = start_run({"tricks": {trick: {}}})
    images, labels, _ = one.draw_real()
    torch.testing.assert_close(one.discriminator(images, labels)[0], one.discriminator.network(images, labels)[0])


def test_values_are_computed_in_float32():
    """Differences that bfloat16, with 8 bits, would lose beside a mean of 100."""
    f = 100 + torch.arange(4.0).view(4, 1).expand(4, 512) / 2
    expected = f.var(0, correction=0).sqrt().mean().item()
    assert mean_deviation(f.bfloat16(), None)[0].item() == pytest.approx(expected, rel=1e-6)
    assert mean_deviation(f.bfloat16(), None).dtype == torch.float32


@pytest.mark.parametrize("trick", TRICKS)
def test_trick_couples_the_batch(assembled, trick):
    assert assembled({"tricks": {trick: {}}}).recipe.coupling("discriminator") == [f"tricks.{trick}"]
