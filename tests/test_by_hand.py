"""The hand-written loops do the same work as gankit: they end with the same weights."""

import by_hand
import pytest
import torch
from workloads import benchmark_run, iteration_of

SMALL_NETWORKS = {
    "dcgan_mnist": ["generator.width=4", "discriminator.width=4"],
    "wgan_gp_mnist": ["generator.width=4", "discriminator.width=4"],
    "igan_vn_mnist": ["generator.channels=2", "discriminator.width=2"],
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", by_hand.LOOPS)
def test_the_hand_written_loop_ends_with_the_weights_of_gankit(monkeypatch, recipe, precision):
    size = 20 if recipe == "igan_vn_mnist" else 16
    settings = [f"train.precision={precision}", f"train.batch_size={size}", "data.resolution=8"]
    run = benchmark_run(recipe, [*settings, *SMALL_NETWORKS[recipe]], idle=2)
    batch = run.draw_real()
    G, D, data, autocast = by_hand.inputs_of(run)
    monkeypatch.setattr(run, "draw_real", lambda: batch)
    monkeypatch.setattr(data, "next", lambda: batch[:2])
    before = [p.clone() for p in G.parameters()]
    for loop in (iteration_of(run), by_hand.LOOPS[recipe](G, D, data, autocast)):
        torch.manual_seed(5)
        for _ in range(3):
            loop()
    for network, expected in ((G, run.generator), (D, run.discriminator)):
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert all((a != b).any() for a, b in zip(before, G.parameters(), strict=True) if b.dim() > 1)
