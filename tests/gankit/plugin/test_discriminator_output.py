"""Discriminators with several logits for each image, and with further outputs."""

import pytest
import torch

from gankit import DiscriminatorOutput, match_logits
from gankit.errors import RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.testing import check_plugin, tiny_run, train_iterations, weights_of
from gankit.training.update import draw_step


def test_a_value_of_each_input_broadcasts_over_its_logits():
    values, logits = torch.tensor([1.0, 2.0]), torch.zeros(2, 1, 3, 2)
    matched = match_logits(values, logits) + logits
    for b in range(2):
        assert torch.equal(matched[b], torch.full((1, 3, 2), values[b].item()))
    assert match_logits(0.5, logits) == 0.5
    assert match_logits(logits, logits) is logits
    assert torch.equal(match_logits(values, torch.zeros(2)), values)


def test_a_discriminator_of_patches_with_an_auxiliary_output_trains_and_resumes(toys):
    check_plugin(toys.Shade, changes={"discriminator": {"use": "./toys.py:Patches"}})


def test_an_auxiliary_output_trains_both_players(toys):
    run = train_iterations(tiny_run({toys.Patches: {}, toys.Shade: {}}), 1)
    plain = train_iterations(tiny_run({toys.Patches: {}}), 1)
    for player, own, other in zip(PLAYERS, weights_of(run), weights_of(plain), strict=True):
        assert "shade" in run.values[player]
        assert own != other


def test_the_loss_is_the_mean_over_all_logits(toys):
    run = tiny_run({toys.Patches: {}})
    step = draw_step(run, "discriminator")
    step.real_target = torch.linspace(0.5, 1, len(step.real))
    (term,) = run.terms["discriminator"]
    real, fake = step.real_output.logits, step.fake_output.logits
    assert real.shape == (len(step.real), 1, 4, 4)
    expected = 0.0
    for b, target in enumerate(step.real_target.tolist()):
        for x, y in zip(real[b].flatten().tolist(), fake[b].flatten().tolist(), strict=True):
            p, q = (torch.tensor(v, dtype=torch.float64).sigmoid() for v in (x, y))
            expected -= target * p.log() + (1 - target) * (1 - p).log() + (1 - q).log()
    assert term.function(step).item() == pytest.approx(expected.item() / real.numel(), rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda output: output.logits,
        lambda output: (output.logits[:-1], output.features),
        lambda output: (output.logits, output.features[:1]),
        lambda output: (output.logits, output.features, [output.features]),
        lambda output: (output.logits, output.features, {"shade": output.extra["shade"][:1]}),
    ],
)
def test_an_output_of_the_wrong_shape_is_refused(change, monkeypatch, toys):
    forward = toys.PatchNet.forward
    monkeypatch.setattr(toys.PatchNet, "forward", lambda *inputs: change(forward(*inputs)))
    with pytest.raises(RecipeError, match=r"discriminator: returns .*; it must return a DiscriminatorOutput: logits"):
        tiny_run({toys.Patches: {}})


def test_a_tuple_of_logits_and_features_has_no_further_outputs():
    assert DiscriminatorOutput(torch.zeros(2), torch.zeros(2, 3)).extra == {}
