"""Optimal discriminator on four symbols, for tests of loss tricks."""

from types import SimpleNamespace

import pytest
import torch

from gankit import Spec, Step

P_DATA = (1, 2, 3, 4)
P_G = (4, 3, 1, 2)
"""Frequency of each of four symbols among ten real and ten generated images."""


@pytest.fixture
def p_data():
    return torch.tensor(P_DATA, dtype=torch.float64) / sum(P_DATA)


@pytest.fixture
def p_g():
    return torch.tensor(P_G, dtype=torch.float64) / sum(P_G)


@pytest.fixture
def best_discriminator(p_data, p_g):
    """Function that trains one logit per symbol to convergence and returns D's outputs.

    Every symbol has its exact share in the batch, so the loss is the expectation.
    """

    def train(trick, loss, repeat=1, rounds=1):
        logits = torch.zeros(len(P_DATA), dtype=torch.float64, requires_grad=True)
        run = SimpleNamespace(
            spec=Spec(),
            discriminator=lambda images, labels: (logits[images.flatten().long()], images.flatten(1)),
            discriminator_inputs=lambda images, labels, source, player: (images, labels),
        )
        real, fake = (
            torch.repeat_interleave(torch.arange(4), torch.tensor(counts) * repeat).reshape(-1, 1, 1, 1).float()
            for counts in (P_DATA, P_G)
        )
        (term,) = loss.loss_terms("discriminator")
        optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

        steps = [Step(run, "discriminator", real, None, torch.zeros(len(real), 1), fake) for _ in range(rounds)]
        for step in steps:
            trick.before_d_step(step=step)

        def closure():
            optimizer.zero_grad()
            total = torch.zeros((), dtype=torch.float64)
            for step in steps:
                vars(step).pop("real_output", None)
                vars(step).pop("fake_output", None)
                total = total + term.function(step) / rounds
            total.backward()
            return total

        optimizer.step(closure)
        return torch.sigmoid(logits.detach())

    return train
