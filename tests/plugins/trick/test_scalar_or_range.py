"""Settings that are a number or a range."""

import pytest
import torch
from pydantic import ValidationError

from gankit import Settings
from gankit_plugins.trick.scalar_or_range import Probability, Weight, draw, ends

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


class Example(Settings):
    probability: Probability = 0.5
    weight: Weight = (0.0, 0.1)


@pytest.mark.parametrize("value", [0, 1, 0.25, [0.0, 1.0], [0.3, 0.3], (0.1, 0.2)])
def test_valid_values(value):
    config = Example(probability=value, weight=value)
    assert config.probability == (tuple(value) if isinstance(value, (list, tuple)) else value)
    assert Example(**config.model_dump(mode="json")) == config
    assert Example.model_validate_json(config.model_dump_json(), strict=True) == config


@pytest.mark.parametrize(
    "value", [-0.1, 1.1, [0.9, 0.1], [0.5], [0.1, 0.2, 0.3], [], "half", None, float("nan"), [0.0, float("inf")]]
)
def test_invalid_values_have_a_single_message(value):
    with pytest.raises(ValidationError) as caught:
        Example(probability=value)
    (error,) = caught.value.errors()
    assert error["loc"] == ("probability",)
    assert error["msg"] == "Value error, it must be a number from 0 to 1, or a range [low, high] of two such numbers"


def test_weights_have_only_a_lower_bound():
    assert Example(weight=[0.5, 7.0]).weight == (0.5, 7.0)
    with pytest.raises(ValidationError, match="it must be a number of 0 or more"):
        Example(weight=-1)


def test_ends():
    assert ends(0.3) == (0.3, 0.3)
    assert ends((0.1, 0.2)) == (0.1, 0.2)


def test_number_is_drawn_as_itself():
    assert draw(0.9, 8, torch.device("cpu")) == 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_range_is_drawn_evenly_for_each_image(device):
    torch.manual_seed(0)
    values = draw((0.8, 1.0), 20_000, torch.device(device))
    assert values.device.type == device
    assert values.shape == (20_000,)
    assert values.min() >= 0.8
    assert values.max() <= 1.0
    quarters = torch.histc(values.cpu(), bins=4, min=0.8, max=1.0) / len(values)
    # Five standard deviations of a share of 1/4 among 20,000.
    assert (quarters - 0.25).abs().max() < 5 * (0.25 * 0.75 / 20_000) ** 0.5
