"""Networks that plugins add to a run, in addition to the generator and the discriminator, such as an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gankit.plugin.slots import Player

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ExtraNetwork:
    """Network that a plugin adds to a run.

    The run moves the network to the device, trains it, and saves it in checkpoints. The network may use the outputs of
    other networks, such as D's features, but must not contain layers of other networks.
    """

    network: nn.Module

    trained_by: tuple[Player, ...] = ()
    """Players whose optimisers update the network: no player, one player or both players.

    A network that no player trains is frozen: it is in evaluation mode, and its parameters do not require gradients.
    """

    saved: bool = True
    """True if checkpoints contain the network. A network that is trained must be saved."""
