"""Data of one training step: real images, fake images, z, and the discriminator's outputs for the images."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

from torch import Tensor, nn

from gankit.errors import PluginError
from gankit.plugin.dataset import Fields
from gankit.plugin.schedule import Schedule
from gankit.plugin.slots import Player
from gankit.plugin.spec import Spec
from gankit.suggest import nearest, new_name

if TYPE_CHECKING:
    from gankit.runtime.ranks import Ranks

Source = Literal["real", "fake"]
SOURCES: tuple[Source, ...] = get_args(Source)


class RenamedFieldError(PluginError, AttributeError):
    """Error for the use of a former name of a `Step` field.

    The error is an AttributeError, so `hasattr` returns False for a former name.
    """


BATCHED = (
    *("real", "condition", "z", "fake"),
    *("real_target", "fake_target", "generator_target", "real_weight", "fake_weight"),
)
"""Names of the fields of `Step` whose tensors have one row for each image."""


class StepContext(Protocol):
    """Attributes and methods of a run that training steps and their loss terms use."""

    spec: Spec
    ranks: Ranks
    """Processes (ranks) of this run. A run that is not distributed has only one process."""

    @property
    def discriminator(self) -> nn.Module:
        """Discriminator that this run trains."""

    def discriminator_inputs(
        self, images: Tensor, condition: Tensor | None, source: Source, step: Step
    ) -> tuple[Tensor, Tensor | None]:
        """Apply all `discriminator_inputs` hooks to images (B, C, H, W) and their condition. Return the results."""


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator for B inputs."""

    logits: Tensor
    """Logits (B,), before any sigmoid. A large value means that the image is probably real.

    A patch discriminator, for example, returns several logits for each image: (B, ...). A loss is then the mean over
    all logits.
    """

    features: Tensor
    """Features (B, F): the input of the discriminator's last layer."""

    extra: Mapping[str, Tensor] = MappingProxyType({})
    """Further outputs by name, such as the class logits (B, K) of an auxiliary classifier.

    The first dimension of each output is B.
    """


def match_logits(value: Tensor | float, logits: Tensor) -> Tensor | float:
    """Reshape a tensor with one value for each input of D, so that it broadcasts over D's logits (B, ...).

    A tensor (B,), such as `step.real_target`, is returned in the shape (B, 1, ...). Numbers and other tensors are
    returned unchanged.
    """
    if isinstance(value, Tensor) and value.dim() == 1:
        return value.view(-1, *(1,) * (logits.dim() - 1))
    return value


@dataclass(frozen=True)
class LossTerm:
    """One term of a player's loss, with its weight."""

    name: str
    function: Callable[[Step], Tensor]
    """Function that takes the step and returns the unweighted value of the term, a scalar tensor."""

    weight: float | Schedule | Tensor = 1.0
    """Factor of the term in the player's loss: a number, or a schedule that computes the number for each step.

    In the hook `backward`, the factor is a scalar tensor if a plugin returns a tensor from `loss_weights`.
    """

    every: int = 1
    """Interval n, in steps of the player. The term is computed in every n-th step, with its weight multiplied by n.

    Source: lazy regularisation, Karras 2019.
    """

    input_gradients: tuple[Source, ...] = ()
    """Inputs of D, `"real"` or `"fake"`, with respect to which the term computes the gradient of D's output.

    For `"real"`, the term computes the gradient of `step.real_output` with respect to `step.real_inputs[0]`. All terms
    of a step then share the same output of D for these inputs, so D computes the output only once.
    """


@dataclass
class Step:
    """Images, condition and z of one training step of one player.

    The outputs of D are computed when a loss term first uses them. For example, if G's loss has no term that uses D's
    output for the real images, this output is not computed in a G step.
    """

    run: StepContext
    player: Player
    real: Tensor
    """Real images, (B, C, H, W) in [-1, 1]."""

    condition: Tensor | None
    """Condition of both the real and the fake images. None for data without a condition.

    `spec.condition` describes the form of the condition: class indices (B,) int64, vectors (B, K), token indices
    (B, T), or source images (B, C, H, W) in [-1, 1].
    """

    z: Tensor
    """Latent vectors of the fake images, (B, latent_size)."""

    fake: Tensor
    """Fake images, (B, C, H, W) in [-1, 1]. In a D step, they are detached from G's computation graph."""

    real_target: Tensor | float = 1.0
    """Target probability for D's output on real images: a number, or a tensor with one value for each input of D."""

    fake_target: Tensor | float = 0.0
    """Target probability for D's output on fake images: a number, or a tensor with one value for each input of D."""

    generator_target: Tensor | float = 1.0
    """Target probability for D's output on fake images in G's loss.

    A number, or a tensor with one value for each input of D.
    """

    real_weight: Tensor | float = 1.0
    """Weight of the real images in the loss: a number, or a tensor with one value for each input of D.

    Only losses with `uses_weights = True`, such as `igan_label`, use this weight.

    Source: alpha in Meng 2021, equation 8.
    """

    fake_weight: Tensor | float = 1.0
    """Weight of the fake images in the loss: a number, or a tensor with one value for each input of D.

    Only losses with `uses_weights = True`, such as `igan_label`, use this weight.

    Source: beta in Meng 2021, equation 8.
    """

    fields: Mapping[str, Tensor] = field(default_factory=Fields)
    """Further tensors (B, ...) of the real images by name. Empty if the dataset has no further tensors."""

    discriminator: Callable[[Tensor, Tensor | None], Any] | None = None
    """Discriminator that is used in this step. If None, the discriminator of the run is used."""

    input_gradients: Collection[Source] = ()
    """Inputs of D, `"real"` or `"fake"`, that require gradients in this step.

    These are the `input_gradients` of all loss terms that are computed in the step.
    """

    simulated: bool = False
    """True in a simulated step, which trains only a temporary copy of D, as in unrolled GANs.

    In such a step, plugins set targets and loss weights as usual, but must not update their own state.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field. Raise PluginError for an unknown name, because a misspelt field would have no effect."""
        if name not in self.__dataclass_fields__ and not hasattr(type(self), name):
            raise PluginError(
                f"a step has no {name!r}; {nearest(name, [*self.__dataclass_fields__, *vars(type(self))])}state of a "
                "plugin belongs on the plugin"
            )
        if name == "labels":
            raise PluginError("the labels of a step cannot be set; assign to step.condition")
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # hidden from type checkers, because with `__getattr__` they would accept any attribute name

        def __getattr__(self, name: str) -> Any:
            """Raise an error for a missing attribute. For a renamed field, the message contains the new name."""
            if (new := new_name(name, [*self.__dataclass_fields__, *vars(type(self))])) is not None:
                raise RenamedFieldError(f"a step has no {name!r}; it is called {new!r} now")
            # Read the attribute again to raise the original AttributeError, which may come from the code of a property.
            return self.__getattribute__(name)

    @property
    def num_inputs(self) -> int:
        """Number of inputs of D for B real or B fake images: B, or B / pack with packing.

        With packing (PacGAN), D takes `pack` images as one input.
        """
        return len(self.real) // self.run.spec.pack

    @property
    def labels(self) -> Tensor | None:
        """Class indices, (B,) int64. None if the condition of the data is not a class."""
        return self.condition if self.run.spec.classes else None

    @cached_property
    def real_inputs(self) -> tuple[Tensor, Tensor | None]:
        """Inputs of D for the real images: the images and their condition after all `discriminator_inputs` hooks."""
        return self._inputs(self.real, "real")

    @cached_property
    def fake_inputs(self) -> tuple[Tensor, Tensor | None]:
        """Inputs of D for the fake images: the images and their condition after all `discriminator_inputs` hooks."""
        return self._inputs(self.fake, "fake")

    def _inputs(self, images: Tensor, source: Source) -> tuple[Tensor, Tensor | None]:
        images, condition = self.run.discriminator_inputs(images, self.condition, source, self)
        if source in self.input_gradients and not images.requires_grad:
            images = images.detach().requires_grad_()
        return images, condition

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        """Output of D for the real images: logits, features and further outputs."""
        return self.discriminate(*self.real_inputs)

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        """Output of D for the fake images: logits, features and further outputs."""
        return self.discriminate(*self.fake_inputs)

    def discriminate(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return the output of D for images (B, C, H, W). The `discriminator_inputs` hooks are not applied."""
        discriminator = self.run.discriminator if self.discriminator is None else self.discriminator
        return DiscriminatorOutput(*discriminator(images, condition))

    def require_input_gradients(self, terms: Iterable[LossTerm]) -> None:
        """Compute D's inputs with gradients where the `input_gradients` of a loss term need them.

        Outputs of D that were computed before are computed again. Call this method before D's outputs are used.
        """
        self.input_gradients = {source for term in terms for source in term.input_gradients}
        for source in self.input_gradients:
            for name in (f"{source}_inputs", f"{source}_output"):
                vars(self).pop(name, None)

    def slice(self, rows: builtins.slice | Tensor) -> Step:
        """Return a step with only some images of the batch, and their condition, z, fields, targets and weights.

        If an output of D is already computed, the new step contains the selected rows of this output and does not
        compute the output again. These rows have no gradient with respect to the images of the new step. If a loss term
        needs this gradient (`input_gradients`), the output is computed again.

        Args:
            rows: slice, or index tensor (n,), of the images to keep.

        Raises:
            PluginError: an input of D consists of several images, as in PacGAN.
        """
        if self.run.spec.pack > 1:
            raise PluginError("a step cannot be sliced if D takes several images as one input (packing)")
        values = {name: getattr(self, name) for name in BATCHED}
        cut: dict[str, Any] = {n: v[rows] for n, v in values.items() if isinstance(v, Tensor) and v.dim()}
        part = replace(self, **cut, fields=Fields({name: one[rows] for name, one in self.fields.items()}))
        computed = vars(self)
        for name in {"real_inputs", "fake_inputs"} & computed.keys():
            images, condition = computed[name]
            vars(part)[name] = (images[rows], None if condition is None else condition[rows])
        for name in {f"{source}_output" for source in SOURCES if source not in self.input_gradients} & computed.keys():
            logits, features, extra = computed[name]
            extra = {key: value[rows] for key, value in extra.items()}
            vars(part)[name] = DiscriminatorOutput(logits[rows], features[rows], extra)
        return part

    def with_outputs(self, real: DiscriminatorOutput, fake: DiscriminatorOutput, **changes: Any) -> Step:
        """Return a copy of the step with the given outputs of D. `changes` contains new values for other fields."""
        # The outputs may no longer belong to the inputs, so terms cannot differentiate one by the other.
        copy = replace(self, **{"input_gradients": (), **changes})
        vars(copy).update(real_output=real, fake_output=fake)
        return copy
