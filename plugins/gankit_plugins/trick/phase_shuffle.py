"""Phase shuffle: random shifts of the discriminator's feature maps of a sound (Donahue 2019)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Player, Plugin, Settings, hookimpl


def shifted(x: Tensor, shift: Tensor) -> Tensor:
    """Return x (B, C, L) with each row moved by `shift` (B,) samples. The gap is filled by reflection.

    The absolute values of `shift` are below L.
    """
    length = x.shape[2]
    index = (torch.arange(length, device=x.device) - shift[:, None]).abs()
    index = torch.where(index < length, index, 2 * (length - 1) - index)
    return x.gather(2, index[:, None].expand_as(x))


def shuffled(x: Tensor, most: int) -> Tensor:
    """Return x (B, C, L) with each row moved by a random shift from -`most` to `most`, or up to L - 1 if L is small."""
    most = min(most, x.shape[2] - 1)
    return shifted(x, torch.randint(-most, most + 1, (len(x),), device=x.device))


class PhaseShuffle(Plugin):
    """Random shift of each feature map in the discriminator by up to `shift` samples, with reflection at the ends.

    Source: Donahue 2019, section 3.3 and figure 3; `shift` is n, and the paper uses 2. All channels
    of a feature map have the same shift. The shift is applied to the input of every one-dimensional convolution of D,
    except the first. In the network of table 4, these inputs are the outputs of all layers but the last. There is no
    shift in evaluation mode.

    Transposed convolutions produce artefacts at fixed positions, which D could use to detect generated sounds.

    When to use: with the discriminator `wavegan`, for sounds of which the exact position does not matter.
    When not: for images. If sounds must start at an exact time, such as drums in a rhythm, use a small shift.
    """

    name = "phase_shuffle"

    class Config(Settings):
        shift: int = Field(2, ge=1, description="largest shift, in samples of a feature map")

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> None:
        if player == "generator":
            return
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv1d)]
        if len(convolutions) < 2:
            raise InputError(
                f"phase_shuffle: {type(network).__name__} has fewer than two one-dimensional convolutions, so there is "
                "no place for it; use the discriminator wavegan, or remove the trick"
            )
        for convolution in convolutions[1:]:
            convolution.register_forward_pre_hook(self._shuffle)

    def _shuffle(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor | None:
        return shuffled(inputs[0], self.config.shift) if module.training else None
