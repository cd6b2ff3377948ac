"""Networks of one-dimensional residual blocks for sequences of characters (Gulrajani 2017)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from gankit import DiscriminatorOutput, InputError, Player, Spec

BLOCKS = 5
"""Number of residual blocks in each network."""

KERNEL = 5
"""Size of the convolutions in a residual block, in characters."""

BRANCH_SCALE = 0.3
"""Factor of the residual branch, from the authors' code."""


def sequence_size(spec: Spec, owner: str) -> tuple[int, int]:
    """Return the size V of the vectors and the length T of the sequences, which are samples of the shape (V, T).

    Raises:
        InputError: the samples have another shape.
    """
    if len(spec.shape) != 2:
        raise InputError(
            f"{owner} needs sequences of the shape (V, T), and the data have shape {spec.shape}; choose data such as "
            "lines, or another network"
        )
    return spec.shape


class ResidualBlock(nn.Module):
    """Block x + 0.3 f(x) with two convolutions of size 5 that keep the length of the sequence, each after a ReLU."""

    def __init__(self, spec: Spec, player: Player, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(2)]
        self.first, self.second = (spec.normalize(player, layer, width) for layer in convolutions)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to feature maps (B, width, T)."""
        return x + BRANCH_SCALE * self.second(F.relu(self.first(F.relu(x))))


class CharacterGeneratorNetwork(nn.Module):
    """Network that maps z to a sequence: a linear layer to (width, T), residual blocks, and V logits for each place.

    Args:
        spec: specification of the data.
        width: number of channels of all blocks.
        owner: name of the plugin, for error messages.
        output: function that maps logits (B, T, V) to vectors of the same shape, such as the softmax.
    """

    def __init__(self, spec: Spec, width: int, owner: str, output: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        size, length = sequence_size(spec, owner)
        self.width, self.output = width, output
        self.linear = nn.Linear(spec.latent_size, width * length)
        self.blocks = nn.Sequential(*(ResidualBlock(spec, "generator", width) for _ in range(BLOCKS)))
        self.to_logits = nn.Conv1d(width, size, 1)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate sequences (B, V, T) from z (B, latent_size). The condition is not used."""
        features = self.blocks(self.linear(z).unflatten(1, (self.width, -1)))
        logits: Tensor = self.to_logits(features).float()
        return self.output(logits.transpose(1, 2)).transpose(1, 2)


class CharacterDiscriminatorNetwork(nn.Module):
    """Network that maps a sequence to one logit: a convolution of size 1, residual blocks, and a linear layer."""

    def __init__(self, spec: Spec, width: int, owner: str) -> None:
        super().__init__()
        size, length = sequence_size(spec, owner)
        self.from_characters = nn.Conv1d(size, width, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(spec, "discriminator", width) for _ in range(BLOCKS)))
        self.head = nn.Linear(width * length, 1)

    def forward(self, sequences: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, width * T) of sequences (B, V, T). The condition is not used."""
        features = self.blocks(self.from_characters(sequences)).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)
