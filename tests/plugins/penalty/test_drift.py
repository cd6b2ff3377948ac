"""Penalty: drift."""

import pytest
import torch

from gankit.testing import tiny_run, train_iterations
from gankit_plugins.penalty.drift import Drift, mean_square


def test_equation():
    logits = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    assert mean_square(logits).item() == pytest.approx((1 + 4 + 9 + 0.25) / 4)
    assert mean_square(logits.bfloat16()).dtype == torch.float32


def test_it_is_on_real_images_with_the_weight_of_the_paper():
    run, seen = tiny_run({Drift: {}}), []
    (term,) = (t for t in run.terms["discriminator"] if t.name == "drift")
    assert term.weight == 0.001
    after = run.after_step["discriminator"]
    run.after_step["discriminator"] = lambda run, step: seen.append(step.real_output.logits) or after(run, step)
    train_iterations(run, 1)
    assert run.values["discriminator"]["drift"].item() == pytest.approx(seen[-1].square().mean().item(), rel=1e-5)
    assert "drift" not in {t.name for t in run.terms["generator"]}
