"""Tests of Gumbel-softmax samples."""

import torch

from gankit_plugins.layers.gumbel_softmax import gumbel_noise, gumbel_softmax


def test_noise_has_the_mean_and_variance_of_the_gumbel_distribution():
    torch.manual_seed(0)
    noise = gumbel_noise(torch.empty(200_000, dtype=torch.bfloat16))
    assert noise.dtype == torch.float32
    assert abs(noise.mean() - 0.57722) < 0.01  # Euler's constant
    assert abs(noise.var() - torch.pi**2 / 6) < 0.03


def test_the_largest_element_has_the_probabilities_of_softmax():
    torch.manual_seed(1)
    probabilities = torch.tensor([0.7, 0.2, 0.1])
    for temperature in (0.05, 0.2, 5.0):
        samples = gumbel_softmax(probabilities.log().expand(50_000, 3), temperature)
        torch.testing.assert_close(samples.sum(-1), torch.ones(50_000))
        shares = samples.argmax(-1).bincount(minlength=3) / 50_000
        torch.testing.assert_close(shares, probabilities, atol=0.01, rtol=0)


def test_samples_approach_one_hot_vectors_and_have_a_gradient():
    torch.manual_seed(2)
    logits = torch.zeros(1000, 4, requires_grad=True)
    sharp, soft = (gumbel_softmax(logits, t).max(-1).values.mean() for t in (0.05, 5.0))
    assert sharp > 0.95
    assert soft < 0.5
    gumbel_softmax(logits, 0.2)[:, 0].sum().backward()
    assert logits.grad.abs().sum() > 0
    assert gumbel_softmax(torch.tensor([1e4, -1e4]), 0.01).tolist() == [1.0, 0.0]
