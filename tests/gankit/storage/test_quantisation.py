"""Weights in 8 bits: error bound, what is left as it is, and foreign tensors with the same suffixes."""

import torch

from gankit.storage.quantisation import dequantise, quantise


def test_error_is_at_most_half_a_level_of_each_row():
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 4, 4) * torch.tensor([1e-3, 1.0, 50.0, 0.0, 7.0])[:, None, None, None]
    stored = quantise({"w": weight})
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in stored.items()} == {
        "w.int8": (torch.int8, (5, 3, 4, 4)),
        "w.scale": (torch.float32, (5, 1, 1, 1)),
    }
    error = (dequantise(stored)["w"] - weight).abs().flatten(1).amax(1)
    bound = weight.abs().flatten(1).amax(1) / 127 / 2
    assert (error <= bound * (1 + 1e-5)).all()
    assert (error[[0, 1, 2, 4]] > bound[[0, 1, 2, 4]] / 2).all(), "the bound is not far too high"
    assert error[3] == 0


def test_vectors_and_integers_are_unchanged():
    tensors = {"bias": torch.randn(4), "count": torch.tensor(7), "table": torch.arange(6).view(2, 3)}
    stored = quantise(tensors)
    assert stored == tensors
    assert dequantise(stored) == tensors


def test_dtype_and_the_largest_value_are_restored():
    weight = torch.tensor([[-4.0, 1.0], [0.5, 0.25]], dtype=torch.bfloat16)
    restored = dequantise(quantise({"w": weight}))["w"]
    assert restored.dtype == torch.bfloat16
    assert restored[0, 0] == -4


def test_tensors_that_are_not_a_quantised_pair_are_left_alone():
    tensors = {
        "a.scale": torch.ones(2),
        "b.int8": torch.ones(2, 2, dtype=torch.int8),
        "c.int8": torch.ones(2, 2),
        "c.scale": torch.ones(2, 1),
        "d.int8": torch.ones(2, 2, dtype=torch.int8),
        "d.scale": torch.ones(3, 1),
    }
    assert dequantise(tensors) == tensors
