"""The hand-written loops do the same work as gankit: they end with the same weights."""

import by_hand
import pytest
import systems_by_hand
import torch
from workloads import benchmark_run, iteration_of

LOOPS = by_hand.LOOPS | systems_by_hand.LOOPS

STYLE = [
    f"{player}.{size}" for player in ("generator", "discriminator") for size in ("channel_base=32", "max_channels=8")
]
SMALL_NETWORKS = {
    "dcgan_mnist": ["generator.width=4", "discriminator.width=4"],
    "wgan_gp_mnist": ["generator.width=4", "discriminator.width=4"],
    "igan_vn_mnist": ["generator.channels=2", "discriminator.width=2"],
    "sngan_cifar10": ["generator.width=4", "discriminator.width=4"],
    "sagan_cifar10": ["generator.width=8", "discriminator.width=8", "tricks.self_attention.side=4"],
    "biggan_cifar10": ["generator.width=8", "discriminator.width=8", "tricks.self_attention.side=4"],
    "pggan_cifar10": ["generator.width=4", "discriminator.width=4"],
    "stylegan_cifar10": STYLE,
    "stylegan2_cifar10": STYLE,
    "r3gan_cifar10": ["generator.width=4", "discriminator.width=4"],
    "fastgan_emoji": ["generator.width=8", "discriminator.width=8", "data.channels=3"],
}

FIRST_ITERATION = {"pggan_cifar10": 600}
"""Iteration at which the comparison starts. PGGAN's layers for 8x8 fade in then."""

NO_GRADIENT = {"stylegan_cifar10": "synthesis.body.0.activation.bias"}
"""Weights without an effect at the start. The sign of a rounding error decides how Adam changes them.

StyleGAN's constant maps are flat at first, and the normalisation that follows removes their mean.
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", LOOPS)
def test_the_hand_written_loop_ends_with_the_weights_of_gankit(monkeypatch, recipe, precision):
    size = 20 if recipe == "igan_vn_mnist" else 16
    settings = [f"train.precision={precision}", f"train.batch_size={size}", "data.resolution=8"]
    run = benchmark_run(recipe, [*settings, *SMALL_NETWORKS[recipe]], idle=2)
    batch = run.draw_real()
    G, D, data, *others = by_hand.inputs_of(run)
    monkeypatch.setattr(run, "draw_real", lambda: batch)
    monkeypatch.setattr(data, "next", lambda: batch[:2])
    run.iteration = FIRST_ITERATION.get(recipe, 0)
    first = {"t": run.iteration} if run.iteration else {}
    before = [p.clone() for p in G.parameters()]
    for loop in (iteration_of(run), LOOPS[recipe](G, D, data, *others, **first)):
        torch.manual_seed(5)
        for _ in range(3):
            loop()
    for network, expected in ((G, run.generator), (D, run.discriminator)):
        for name, tensor in expected.state_dict().items():
            if name == NO_GRADIENT.get(recipe):
                continue
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert all((a != b).any() for a, b in zip(before, G.parameters(), strict=True) if b.dim() > 1)
