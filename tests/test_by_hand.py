"""The loops written by hand, which gankit's are timed against, do the same work: they end with the same weights."""

import by_hand
import pytest
import torch
from workloads import game_of, iteration_of


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", ["dcgan_mnist", "wgan_gp_mnist", "igan_vn_mnist"])
def test_same_weights(monkeypatch, recipe, precision):
    size = 20 if recipe == "igan_vn_mnist" else 16
    run = game_of(recipe, [f"train.precision={precision}", f"train.batch_size={size}"], idle=2)
    one_batch = run.draw()
    monkeypatch.setattr(run, "draw", lambda: one_batch)
    monkeypatch.setattr(by_hand.Images, "next", lambda self: one_batch)
    G, D, *rest = by_hand.players(run)
    monkeypatch.setattr(by_hand, "players", lambda run: (G, D, *rest))
    loops = iteration_of(run), by_hand.BY_HAND[recipe](run)
    before = [p.clone() for p in G.parameters()]
    for loop in loops:
        torch.manual_seed(5)
        for _ in range(3):
            loop()
    for mine, theirs in ((G, run.generator), (D, run.discriminator)):
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert all((a != b).any() for a, b in zip(before, G.parameters(), strict=True) if b.dim() > 1)
