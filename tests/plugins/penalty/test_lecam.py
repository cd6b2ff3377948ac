"""Penalty of LeCam regularisation, against its equation and a naive moving average."""

import pytest
import torch

from gankit.testing import tiny_run, train_iterations
from gankit_plugins.penalty.lecam import LeCam, lecam


def test_the_penalty_by_a_naive_loop():
    real, fake = torch.randn(3, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    expected = sum((x - 0.25) ** 2 for x in real.flatten().tolist()) / 6
    expected += sum((x + 2) ** 2 for x in fake.tolist()) / 4
    anchors = (torch.tensor(x, dtype=torch.float64) for x in (-2.0, 0.25))
    assert lecam(real, fake, *anchors).item() == pytest.approx(expected)


def test_the_anchors_are_moving_averages_of_the_logits():
    run = tiny_run({LeCam: {"decay": 0.75, "weight": 0.5}}, {"train": {"discriminator_steps": 1}})
    (term,) = (t for t in run.terms["discriminator"] if t.name == "lecam")
    seen, after_d_step = [], run.after_step["discriminator"]

    def record(run, step):
        means = [o.logits.detach().mean().item() for o in (step.real_output, step.fake_output)]
        real, fake = seen[-1][1] if seen else means
        expected = [
            ((output.logits - other) ** 2).mean().item()
            for output, other in ((step.real_output, fake), (step.fake_output, real))
        ]
        assert run.values["discriminator"]["lecam"].item() == pytest.approx(sum(expected), rel=1e-5)
        past = seen[-1][1] if seen else means
        seen.append((means, [0.75 * a + 0.25 * b for a, b in zip(past, means, strict=True)]))
        after_d_step(run, step)

    run.after_step["discriminator"] = record
    train_iterations(run, 4)
    assert term.weight == 0.5
    assert run.plugins["tricks.lecam"].anchors.tolist() == pytest.approx(seen[-1][1], rel=1e-5)


def test_the_anchors_average_over_the_parts_of_a_batch():
    run, outputs = tiny_run({LeCam: {}}, {"train": {"accumulate": 2, "discriminator_steps": 1}}), []
    run.discriminator.register_forward_hook(lambda network, inputs, output: outputs.append(output[0].detach().mean()))
    train_iterations(run, 1)
    real, fake, other_real, other_fake = outputs[:4]
    expected = torch.stack([(real + other_real) / 2, (fake + other_fake) / 2])
    torch.testing.assert_close(run.plugins["tricks.lecam"].anchors, expected)


def test_g_has_no_term():
    assert "lecam" not in {t.name for t in tiny_run({LeCam: {}}).terms["generator"]}
