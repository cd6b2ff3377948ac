"""Steps that a plugin draws, and parts of a step."""

import pytest
import torch

from gankit import LossTerm, Plugin, Step, hookimpl
from gankit.errors import PluginError
from gankit.testing import check_plugin, tiny_run, train_iterations
from gankit.training.update import draw_step


def test_a_plugin_that_draws_the_steps_of_one_player_trains_and_resumes(toys):
    check_plugin(toys.HalfSteps)


def test_only_the_steps_that_a_plugin_draws_differ(toys):
    run = tiny_run({toys.HalfSteps: {}})
    sizes, after_step = {}, run.after_step

    def recording(player):
        def record(run, step):
            sizes[player] = (len(step.real), len(step.fake), len(step.fake_output.logits), step.fake.requires_grad)
            after_step[player](run, step)

        return record

    run.after_step = {player: recording(player) for player in after_step}
    train_iterations(run, 1)
    assert sizes == {"discriminator": (8, 8, 8, False), "generator": (4, 4, 4, True)}


def test_a_drawn_step_of_d_has_no_graph_of_g():
    class Own(Plugin):
        name = "own"

        @hookimpl
        def draw_step(self, run, player):
            real, labels, _ = run.draw_real()
            z = run.draw_latent(len(real), labels)
            return Step(run, player, real, labels, z, run.generator(z, labels).float())

    own, plain = tiny_run({Own: {}}), tiny_run()
    assert not draw_step(own, "discriminator").fake.requires_grad
    draw_step(plain, "discriminator")
    steps = []
    for run in (own, plain):
        torch.manual_seed(1)
        steps.append(draw_step(run, "generator"))
    one, other = steps
    assert one.fake.requires_grad
    for name in ("real", "z", "fake"):
        assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("rows", [slice(2, 5), torch.tensor([6, 0])])
def test_a_part_of_a_step_has_its_images_targets_and_weights(rows):
    run = tiny_run({}, {"data": {"classes": 2}})
    step = draw_step(run, "discriminator")
    step.real_target = torch.rand(8)
    step.fake_weight = torch.rand(8)
    step.generator_target = torch.tensor(0.5)
    part = step.slice(rows)
    for name in ("real", "labels", "z", "fake", "real_target", "fake_weight"):
        assert torch.equal(getattr(part, name), getattr(step, name)[rows])
    assert (part.fake_target, part.real_weight, part.player) == (0.0, 1.0, "discriminator")
    assert part.generator_target == 0.5
    expected = run.discriminator(step.fake[rows], step.labels[rows]).logits
    torch.testing.assert_close(part.fake_output.logits, expected)


def test_a_part_of_a_step_keeps_the_outputs_of_d(toys):
    run = tiny_run({toys.Patches: {}}, {"data": {"classes": 2}})
    step = draw_step(run, "generator")
    output, calls = step.fake_output, []
    run.discriminator.register_forward_hook(lambda *call: calls.append(call))
    part = step.slice(torch.tensor([7, 1]))
    for whole, cut in zip(output[:2], part.fake_output[:2], strict=True):
        assert torch.equal(cut, whole[[7, 1]])
    assert torch.equal(part.fake_output.extra["shade"], output.extra["shade"][[7, 1]])
    assert torch.equal(part.fake_inputs[1], step.labels[[7, 1]])
    assert not calls
    assert len(part.real_output.logits) == 2
    assert len(calls) == 1


def test_a_part_of_a_step_has_the_gradients_at_its_own_inputs():
    run = tiny_run()
    step = draw_step(run, "discriminator")
    step.input_gradients = {"real"}
    step.real_output, step.fake_output  # noqa: B018
    part = step.slice(torch.tensor([7, 1]))
    (gradient,) = torch.autograd.grad(part.real_output.logits.sum(), part.real_inputs[0])
    x = step.real[[7, 1]].requires_grad_()
    (expected,) = torch.autograd.grad(run.discriminator(x, None).logits.sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert not step.fake_inputs[0].requires_grad


def test_replaced_outputs_of_d_have_no_gradients_at_the_inputs():
    step = draw_step(tiny_run(), "discriminator")
    step.input_gradients = {"real"}
    other = step.real_output._replace(logits=step.real_output.logits + 100)
    part = step.with_outputs(other, step.fake_output).slice(slice(2))
    assert torch.equal(part.real_output.logits, other.logits[:2])


def test_outputs_that_were_computed_before_the_terms_are_computed_again():
    """A plugin may call D while it draws a step."""
    step = draw_step(tiny_run(), "discriminator")
    before = step.real_output.logits, step.fake_output
    step.require_input_gradients([LossTerm("x", torch.numel, input_gradients=("real",))])
    torch.testing.assert_close(step.real_output.logits, before[0])
    torch.autograd.grad(step.real_output.logits.sum(), step.real_inputs[0])
    assert step.fake_output is before[1]


def test_a_step_with_packing_has_no_parts():
    run = tiny_run()
    step = draw_step(run, "discriminator")
    run.spec.pack = 2
    with pytest.raises(PluginError, match="cannot be sliced if D takes several images as one input"):
        step.slice(slice(2))
