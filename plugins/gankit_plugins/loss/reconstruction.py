"""Base class for losses that are computed from the reconstruction errors of an autoencoder D."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gankit import DiscriminatorOutput, InputError, LossTerm, Player, Plugin, RecipeInfo, Run, Step, hookimpl
from gankit_plugins.layers.probe import probe

CHANGE_LOGITS = ("minibatch_discrimination", "minibatch_stddev", "projection")
"""Names of tricks that add terms to D's logits. The logits are then no longer negative reconstruction errors."""


def reconstruction_error(output: DiscriminatorOutput) -> Tensor:
    """Return the reconstruction errors of D's inputs: the negative logits, (B, ...), in float32 or a wider type."""
    return -output.logits.to(torch.promote_types(output.logits.dtype, torch.float32))


def require_reconstruction(run: Run, name: str) -> None:
    """Raise an InputError if the run's discriminator returns no reconstruction of its input."""
    if "reconstruction" not in probe(run.discriminator, run).extra:
        raise InputError(
            f"{name} needs a discriminator that reconstructs its input, and "
            f"{run.recipe.use_of('discriminator')!r} does not; use the discriminator ebgan or began"
        )


class ReconstructionLoss(Plugin):
    """Base class for losses that are computed from the reconstruction errors of an autoencoder D.

    A subclass defines two methods: `discriminator_term` and `generator_term`.
    """

    kind = "loss"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for component in recipe.components.values():
            trick = component.plugin_class
            if trick.relativistic_logits:
                raise ValueError(
                    f"{trick.name} replaces D's reconstruction errors by differences; remove one of the two"
                )
            if trick.name in CHANGE_LOGITS:
                raise ValueError(f"{trick.name} adds numbers to D's reconstruction errors; remove one of the two")
        return ()

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        require_reconstruction(run, self.name)
        return [LossTerm("adversarial", self.discriminator_term if player == "discriminator" else self.generator_term)]

    def discriminator_term(self, step: Step) -> Tensor:
        """Return the loss of D as a scalar."""
        raise NotImplementedError

    def generator_term(self, step: Step) -> Tensor:
        """Return the loss of G as a scalar."""
        raise NotImplementedError
