"""Step with given logits, for tests of losses."""

from types import SimpleNamespace

import pytest
import torch

from gankit import Step


@pytest.fixture
def make_step():
    """Function that returns a step on (B,) images whose logits are the images themselves."""

    def make(player, real, fake):
        run = SimpleNamespace(
            discriminator=lambda images, labels: (images.flatten(), images.flatten(1)),
            discriminator_inputs=lambda images, labels, source, player: (images, labels),
        )
        images = [torch.as_tensor(logits).reshape(-1, 1, 1, 1) for logits in (real, fake)]
        return Step(run, player, images[0], None, torch.zeros(len(images[0]), 1), images[1])

    return make
