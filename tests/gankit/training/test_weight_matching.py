"""Matches of tensors by name and shape, conversions of channels, and tables of names."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from gankit.errors import InputError
from gankit.training.weight_matching import load, match, prefix_table, renamed, with_channels


def network(channels=3, width=4, outputs=5):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, outputs)
    )


def reasons(new, tensors, channels=3):
    return {m.name: m.reason for m in match(new, tensors, channels)}


def test_equal_names_and_shapes_are_taken_and_counters_are_not():
    old, new = network(), network()
    old.train()(torch.randn(2, 3, 4, 4))
    matches = match(new, old.state_dict(), 3)
    load(new, matches)
    assert {m.name for m in matches if m.value is None} == {"1.num_batches_tracked"}
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, old.state_dict()[name]) == (name != "1.num_batches_tracked"), name


def test_a_layer_is_taken_as_a_whole():
    old, new = network(outputs=5), network(outputs=7)
    new[3].bias = nn.Parameter(torch.zeros(5))  # a bias that fits, with a weight that does not
    found = reasons(new, old.state_dict())
    assert found["3.weight"] == "another shape in the source"
    assert found["3.bias"] == "the rest of its layer does not fit"
    assert found["0.weight"] == found["1.running_mean"] == ""
    assert found["1.num_batches_tracked"] == "counters and masks"


def test_a_parametrised_weight_belongs_to_its_layer():
    old, new = (nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, n))) for n in (2, 3))
    fitting = {"0.bias": torch.zeros(3), "0.parametrizations.weight.0._v": torch.ones(4)}
    found = reasons(new, old.state_dict() | fitting)
    assert found == {
        "0.bias": "the rest of its layer does not fit",
        "0.parametrizations.weight.original": "another shape in the source",
        "0.parametrizations.weight.0._u": "another shape in the source",
        "0.parametrizations.weight.0._v": "the rest of its layer does not fit",
    }


def test_missing_tensors_and_other_types():
    tensors = {"weight": torch.zeros(5, 4, dtype=torch.int8)}
    assert reasons(nn.Linear(4, 5), tensors) == {
        "weight": "int8 in the source",
        "bias": "not in the source",
    }


def test_values_are_converted_to_the_type_of_the_network():
    new = nn.Linear(2, 2)
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float16)
    load(new, match(new, {"weight": weight, "bias": torch.ones(2, dtype=torch.float64)}, 3))
    assert new.weight.dtype == torch.float32
    assert new.weight.tolist() == weight.tolist()


def test_loading_keeps_the_parameters_of_the_optimiser_and_frozen_ones():
    new = nn.Linear(2, 2)
    new.bias.requires_grad_(False)
    before = list(new.parameters())
    load(new, match(new, {"weight": torch.ones(2, 2), "bias": torch.ones(2)}, 3))
    assert [a is b for a, b in zip(before, new.parameters(), strict=True)] == [True, True]
    assert not new.bias.requires_grad
    assert new.bias.tolist() == [1, 1]


LAYERS = {
    "convolution": lambda i, o: nn.Conv2d(i, o, 3),
    "transposed": lambda i, o: nn.ConvTranspose2d(i, o, 3),
    "1-D": lambda i, o: nn.Conv1d(i, o, 3),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_a_layer_that_takes_images_gives_the_same_for_a_grey_image(name, before, after):
    old, new = LAYERS[name](before, 4), LAYERS[name](after, 4)
    load(new, match(new, old.state_dict(), after))
    grey = torch.randn(2, 1, *[6] * (old.weight.dim() - 2))
    expected = old(grey.expand(-1, before, *grey.shape[2:]))
    torch.testing.assert_close(new(grey.expand(-1, after, *grey.shape[2:])), expected)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_a_layer_that_returns_images_returns_the_mean_of_the_colours(name, before, after):
    old, new = LAYERS[name](4, before), LAYERS[name](4, after)
    matches = match(new, old.state_dict(), after)
    assert {m.reason for m in matches} == {"grey to colour" if after == 3 else "colour to grey"}
    load(new, matches)
    x = torch.randn(2, 4, *[6] * (old.weight.dim() - 2))
    torch.testing.assert_close(new(x), old(x).mean(1, keepdim=True).expand_as(new(x)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((4, 2, 3, 3), (4, 3, 3, 3)),  # two channels are neither grey nor colour
        ((4, 3, 1), (4, 3, 3)),  # another kernel
        ((4, 1, 3, 3), (5, 3, 3, 3)),  # another width, too
        ((1, 4), (3, 4)),  # no convolution
        ((4, 1, 3), (4, 3, 3, 3)),
    ],
)
def test_other_shapes_are_not_converted(old, new):
    assert with_channels(torch.zeros(old), new, channels=3, transposed=False) is None


@pytest.mark.parametrize(("before", "after", "channels"), [(1, 3, 2), (3, 1, 3)])
def test_hidden_layers_are_not_converted(before, after, channels):
    """A layer with 1 or 3 channels is a hidden one if the images have another number of channels."""
    old, new = (nn.Conv2d(8, outputs, 3, bias=False) for outputs in (before, after))
    assert {m.value for m in match(new, old.state_dict(), channels)} == {None}


def test_shared_parameters_are_taken_by_one_of_their_names():
    new = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    new[1].weight = new[0].weight
    tensors = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "1.bias": torch.full((2,), 3.0)}
    load(new, match(new, tensors, 3))
    assert new[1].bias.tolist() == [3, 3]
    assert new[1].weight.tolist() == [[1, 1], [1, 1]]


def test_names_of_modules_and_tensors_are_replaced():
    names = ("net.body.0.weight", "net.body.0.bias", "net.head", "net.head_2", "other")
    tensors = {name: torch.tensor(float(i)) for i, name in enumerate(names)}
    table = {"net": "", "net.body": "layers", "net.head": "last.weight", "other": "a.b"}
    result = {name: tensor.item() for name, tensor in renamed(tensors, table).items()}
    assert result == {"layers.0.weight": 0, "layers.0.bias": 1, "last.weight": 2, "head_2": 3, "a.b": 4}
    assert list(renamed({"a": torch.ones(1)}, {"": "outer"})) == ["outer.a"]
    assert list(renamed(tensors, {})) == list(tensors)


@pytest.mark.parametrize(
    ("names", "own", "table"),
    [
        (["a.w", "b.w"], ["net.a.w", "net.b.w"], {"": "net"}),
        (["ema.net.a.w", "ema.net.b.w", "step"], ["a.w", "b.w"], {"ema.net": ""}),
        (["a.w"], ["b.w"], {}),
    ],
)
def test_a_prefix_that_makes_names_fit(names, own, table):
    assert prefix_table(names, own) == table
    assert bool(table) == bool(set(renamed(dict.fromkeys(names, torch.ones(1)), table)) & set(own))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"nat": ""}, "the source has no tensor or module 'nat'; did you mean 'net'? it has net.a.w, net.b.w"),
        ({"net.a.": ""}, "the source has no tensor or module 'net.a.'; did you mean 'net.a.w'?"),
        ({"net.a": "net.b"}, "two tensors of the source get the name 'net.b.w'"),
    ],
)
def test_mistakes_in_a_table_of_names(table, expected):
    with pytest.raises(InputError) as error:
        renamed({"net.a.w": torch.zeros(1), "net.b.w": torch.zeros(1)}, table)
    assert expected in str(error.value)
