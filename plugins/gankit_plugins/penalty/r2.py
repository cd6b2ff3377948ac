"""Zero-centred gradient penalty on generated images."""

from __future__ import annotations

from torch import Tensor

from gankit import DiscriminatorOutput, Step
from gankit_plugins.penalty.r1 import R1


class R2(R1):
    """Penalty that pulls D's gradient towards 0 on generated images.

    Source: Mescheder 2018, equation 10. The penalty is the same as in `r1`, but on D's generated inputs. These inputs
    include past images from `experience_replay`.

    When to use: together with `r1`, if D is also steep around generated images.
    When not: alone at the beginning of training, because it makes D flat at the generated images, where G needs a
    gradient.
    """

    name = "r2"
    input_gradients = ("fake",)

    def output_and_inputs(self, step: Step) -> tuple[DiscriminatorOutput, tuple[Tensor, Tensor | None]]:
        """Return D's output for the generated images and D's inputs."""
        return step.fake_output, step.fake_inputs
