"""Layout of images by class."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit import InputError
from gankit_plugins.layers.per_class import from_groups, route, to_groups

SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=3)
"""(C, ...) of one image, from a vector to a map."""


def images_of(count, shape, seed=0):
    """Return random images, all different and without zeros."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def any_labels(draw):
    classes = draw(st.integers(1, 6))
    return draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=20)), classes


@st.composite
def balanced_labels(draw):
    classes, each = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return draw(st.permutations(list(range(classes)) * each)), classes


def by_hand(x, labels, classes, rows):
    """Return the groups: row i, group k is the i-th image of class k, or zeros."""
    C = x.shape[1]
    filled = torch.zeros(rows, classes * C, *x.shape[2:], dtype=x.dtype)
    for k in range(classes):
        own = [image for image, label in zip(x, labels, strict=True) if label == k]
        for i, image in enumerate(own):
            filled[i, k * C : (k + 1) * C] = image
    return filled


@settings(deadline=None)
@given(st.booleans(), st.data(), SHAPES)
def test_images_are_laid_out_by_class_and_come_back(balanced, data, shape):
    labels, classes = data.draw(balanced_labels() if balanced else any_labels())
    x = images_of(len(labels), shape)
    way = route(torch.tensor(labels), classes, balanced)
    assert (way.rows, way.classes) == (max(labels.count(k) for k in range(classes)), classes)
    groups = to_groups(x, way)
    assert torch.equal(groups, by_hand(x, labels, classes, way.rows))
    assert torch.equal(from_groups(groups, way), x)


def test_number_of_channels_may_change():
    """Outputs (rows, N * C') become (B, C')."""
    labels = torch.tensor([2, 0, 1, 1, 0, 2])
    way = route(labels, 3, balanced=True)
    y = images_of(2, (3 * 4, 5))
    back = from_groups(y, way)
    seen = [0, 0, 0]
    for image, k in zip(back, labels.tolist(), strict=True):
        assert torch.equal(image, y[seen[k], k * 4 : (k + 1) * 4])
        seen[k] += 1


def test_without_routing_nothing_changes():
    x = images_of(3, (2, 2))
    assert to_groups(x, None) is x
    assert from_groups(x, None) is x


@pytest.mark.parametrize("labels", [[0, 1, 2, 1, 0, 1], [0, 0, 0, 0, 0, 0], [1, 2, 2, 1, 2, 1]])
def test_unbalanced_labels_are_refused(labels):
    way = route(torch.tensor(labels), 3, balanced=True)
    with pytest.raises(InputError, match=r"more than 2 images of one of 3 classes.*train\.class_balanced"):
        to_groups(images_of(6, (1, 2)), way)


@pytest.mark.parametrize(("count", "classes"), [(5, 2), (1, 3), (10, 4)])
def test_batch_that_cannot_be_shared_evenly_is_refused(count, classes):
    with pytest.raises(InputError, match=f"{count} images .* {classes} classes.*multiple of {classes}"):
        route(torch.arange(count) % classes, classes, balanced=True)


@pytest.mark.parametrize(("labels", "balanced"), [([1, 0, 0, 2, 1, 2], True), ([1, 0, 0, 3, 0], False)])
def test_first_and_second_derivatives(labels, balanced):
    """Penalties differentiate twice through D, and so through both layouts."""
    way = route(torch.tensor(labels), 4 if not balanced else 3, balanced)

    def there_and_back(x):
        return from_groups(to_groups(x.sin(), way).square(), way)

    x = images_of(len(labels), (2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(there_and_back, x)
    assert torch.autograd.gradgradcheck(there_and_back, x)


def test_balanced_route_waits_for_nothing(no_waiting):
    labels, x = torch.tensor([1, 0, 2, 2, 0, 1]), images_of(6, (2, 2)).requires_grad_()
    with no_waiting:
        way = route(labels, 3, balanced=True)
        from_groups(to_groups(x, way), way).sum().backward()
    with pytest.raises(AssertionError, match="waits for the device"), no_waiting:
        route(labels, 3, balanced=False)
