"""Every hook point: when it is called, with what, and what it may return.

An implementation takes any subset of the arguments, by name. Whatever the hook, plugins are called in the
order of the recipe. `run` is the `gankit.Game` being played.

Kinds of hook point:

- *exactly one*: each plugin may answer or return None; two answers are an error that names both plugins.
- *at most one*: the same, and none is fine.
- *event*: everyone is called, nothing is returned.
- *chain*: each gets what the one before returned.
- *list*: what everyone returns is put together.
- *merged*: dictionaries are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pluggy

if TYPE_CHECKING:
    import click
    import torch
    from PIL.Image import Image
    from torch import Tensor, nn

    from gankit.plugin.comparison import Comparison
    from gankit.plugin.dataset import Dataset
    from gankit.plugin.extractor import Extractor
    from gankit.plugin.slots import Player
    from gankit.plugin.spec import Spec
    from gankit.plugin.step import Source, Step, Term
    from gankit.recipe.recipe import Recipe
    from gankit.training.run import Game

HookKind = Literal["exactly one", "at most one", "event", "chain", "list", "merged"]

KIND_OF_HOOK: dict[str, HookKind] = {}
"""The kind of every hook point, in the order in which they are declared below."""

_hookspec = pluggy.HookspecMarker("gankit")


def _hook(
    kind: HookKind, *, deprecated: str | None = None, deprecated_arguments: Mapping[str, str] | None = None
) -> Callable[[Callable], Callable]:
    """Declares a hook point.

    Args:
        kind: what becomes of the answers.
        deprecated: what to use instead, when the whole hook point is to go: whoever implements it is warned.
        deprecated_arguments: what to use instead of single arguments: whoever takes one is warned.
    """

    def declare(function: Callable) -> Callable:
        name = function.__name__
        KIND_OF_HOOK[name] = kind
        # Python hides a DeprecationWarning from whoever only runs a recipe.
        whole = FutureWarning(f"the hook point {name} is deprecated: {deprecated}") if deprecated else None
        single = {
            argument: FutureWarning(f"the argument {argument!r} of {name} is deprecated: {instead}")
            for argument, instead in (deprecated_arguments or {}).items()
        }
        return _hookspec(function, warn_on_impl=whole, warn_on_impl_args=single or None)

    return declare


# Called once, at assembly, in this order.


@_hook("list")
def check_recipe(recipe: Recipe) -> Iterable[str] | None:
    """Advice on the recipe as a whole: sentences on combinations known to be inert or harmful.

    Raise `ValueError` to refuse a combination that cannot work.

    Example:

        def check_recipe(self, recipe):
            if recipe.use_of("normalization.discriminator") == "batch_norm":
                yield "batch norm in D couples the images whose gradients the penalty takes one by one"
    """


@_hook("exactly one")
def load_data(spec: Spec) -> Dataset | None:
    """The images to learn from. Only their shape must be known now; they are read when training begins.

    Example:

        def load_data(self):
            return Dataset(1, 28, tuple("0123456789"), load=self.read)
    """


@_hook("event")
def adjust_spec(spec: Spec) -> None:
    """Change what the networks are built from, by assigning to it.

    Example:

        def adjust_spec(self, spec):
            spec.latent_size = self.config.size
    """


@_hook("exactly one")
def normalization(player: Player, layer: nn.Module, features: int) -> nn.Module | None:
    """One layer, normalised: batch norm after it, spectral norm on it, or as it is.

    Called by the architectures, through `spec.normalize`, for each convolution and linear layer that may be
    normalised. `features` is the layer's number of output channels. The plugin in the slot
    `normalization.generator` is asked for the generator's layers, the other one for the discriminator's.

    Example:

        def normalization(self, layer, features):
            return nn.Sequential(layer, nn.BatchNorm2d(features))
    """


@_hook("exactly one")
def build_generator(spec: Spec) -> nn.Module | None:
    """The generator, called `G(z, labels)`: (B, latent_size) and (B,) or None to (B, C, R, R) in [-1, 1].

    Example:

        def build_generator(self, spec):
            return Generator(spec, width=self.config.width)
    """


@_hook("exactly one")
def build_discriminator(spec: Spec) -> nn.Module | None:
    """The discriminator, called `D(images, labels)`: to logits (B,) and the features (B, F) before the head.

    Example:

        def build_discriminator(self, spec):
            return Critic(spec, width=self.config.width)
    """


@_hook("chain")
def wrap_network(player: Player, network: nn.Module, run: Game | None) -> nn.Module | None:
    """The network, initialised, changed or wrapped. Returning None keeps it as it is.

    Called again, with None for `run`, when a saved generator is rebuilt to sample from it; its parameters and
    buffers are then loaded from the file.

    Example:

        def wrap_network(self, player, network):
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.orthogonal_(module.weight)
    """


@_hook("exactly one")
def build_optimizer(player: Player, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer | None:
    """The optimiser of one player. The plugin in `optimizer.generator` is asked for the generator's, and so on.

    Example:

        def build_optimizer(self, parameters):
            return torch.optim.SGD(parameters, lr=self.config.lr)
    """


@_hook("list")
def lr_schedule(player: Player, run: Game) -> Callable[[int], float] | None:
    """A function from the iteration (0, 1, ...) to what the optimiser's rate is multiplied by.

    Several schedules multiply.

    Example:

        def lr_schedule(self, run):
            return lambda t: min(1.0, (t + 1) / self.config.warmup)
    """


@_hook("chain")
def wrap_loss(terms: dict[Player, list[Term]], run: Game) -> dict[Player, list[Term]] | None:
    """The terms of the plugin in the slot `loss`, both players'. Returning None keeps them as they are.

    Called before the terms of everyone else are added.

    Example:

        def wrap_loss(self, terms):
            return terms | {"generator": [Term("feature_matching", feature_matching)]}
    """


@_hook("list")
def loss_terms(player: Player, run: Game) -> Iterable[Term] | None:
    """Parts of the player's loss. The core adds all of them up and runs one backward pass.

    Example:

        def loss_terms(self, player):
            if player == "discriminator":
                yield Term("r1", lambda step: r1(step.judge, *step.shown_real), weight=10.0, every=16)
    """


# Called in the loop.


@_hook("event")
def on_start(run: Game) -> None:
    """All is assembled, a resumed state is loaded, the first iteration is about to begin.

    `run.directory` is None where nothing is to be written: in a `Session`, in a test's tiny game.

    Example:

        def on_start(self, run):
            self.file = open(run.directory / "losses.csv", "a") if run.directory is not None else None
    """


@_hook("at most one")
def turns(run: Game) -> Sequence[Player] | None:
    """The turns of the coming iteration. Without an answer: `train.discriminator_turns` of D, then one of G.

    Example:

        def turns(self, run):
            return ["discriminator"] * (100 if run.iteration < 25 else 5) + ["generator"]
    """


@_hook("exactly one")
def sample_latent(
    count: int, labels: Tensor | None, device: torch.device, generator: torch.Generator | None
) -> Tensor | None:
    """z from the prior, of shape (count, latent_size), on `device`.

    `generator` is the source of randomness to use, None for torch's own; when given, it lives on `device`.
    At most one plugin of a recipe may implement this: the one in the slot `latent`, as a rule.

    Example:

        def sample_latent(self, count, device, generator):
            return torch.randn(count, self.config.size, device=device, generator=generator)
    """


@_hook("chain")
def sampling_latent(z: Tensor, redraw: Callable[[], Tensor]) -> Tensor:  # type: ignore[empty-body]
    """z, (count, latent_size), on its way to a generator that is sampled from; never in training.

    `redraw()` gives another z of the same shape from the prior.

    Example:

        def sampling_latent(self, z):
            return z * self.config.temperature
    """


@_hook("event")
def before_d_step(run: Game, step: Step) -> None:
    """D's turn: real and fake images are drawn, D has not seen them. Assign to `step` to change them.

    Example:

        def before_d_step(self, step):
            step.real_target = 0.9
    """


@_hook("event")
def before_g_step(run: Game, step: Step) -> None:
    """G's turn: the images are drawn, D has not seen them. Assign to `step` to change what follows.

    Example:

        def before_g_step(self, step):
            step.generator_target = 0.0
    """


@_hook("chain")
def discriminator_inputs(  # type: ignore[empty-body]
    images: Tensor, labels: Tensor | None, source: Source, player: Player, run: Game
) -> tuple[Tensor, Tensor | None]:
    """All that D is shown passes through here, in both players' turns: (B, C, R, R) images and their labels.

    Example:

        def discriminator_inputs(self, images, labels):
            return images + self.config.sigma * torch.randn_like(images), labels
    """


@_hook("at most one")
def backward(run: Game, step: Step, player: Player, terms: Sequence[Term]) -> dict[str, Tensor] | None:
    """In place of the core's backward pass: fill the parameters' gradients, return every term's value by name.

    Example:

        def backward(self, run, step, player, terms):
            values = {term.name: term.weight * term.function(step) for term in terms}
            ...
    """


@_hook("event")
def after_backward(run: Game, step: Step, player: Player) -> None:
    """The player's gradients are complete, its optimiser has not stepped.

    Example:

        def after_backward(self, run, player):
            torch.nn.utils.clip_grad_norm_(run.networks[player].parameters(), self.config.norm)
    """


@_hook("event")
def after_d_step(run: Game, step: Step) -> None:
    """D's optimiser has stepped.

    Example:

        def after_d_step(self, run):
            for weight in run.discriminator.parameters():
                weight.data.clamp_(-0.01, 0.01)
    """


@_hook("event")
def after_g_step(run: Game, step: Step) -> None:
    """G's optimiser has stepped.

    Example:

        def after_g_step(self, run):
            torch._foreach_lerp_(self.average, list(run.generator.parameters()), 0.001)
    """


@_hook("event")
def after_iteration(run: Game) -> None:
    """All turns of the iteration are played. `run.iteration` counts it already.

    Example:

        def after_iteration(self, run):
            if run.iteration % 100 == 0 and self.collapsed(run):
                run.stop("the images have become all alike")
    """


@_hook("event")
def on_log(run: Game, row: dict[str, Any]) -> None:
    """A row of log.jsonl is written: losses, rates and images per second, or measures, or a piece of advice.

    What a plugin draws at random here shifts nothing. A resumed run has taken back the rows that came after its
    checkpoint, and logs them anew. An exception ends the run, as from any hook point; who writes to what may fail for a
    while, such as a server, catches it and says so by `run.advise`.

    Example:

        def on_log(self, row):
            if "loss" in row:
                self.writer.writerow([row["iteration"], row["loss"]["discriminator"]["adversarial"]])
    """


@_hook("event")
def on_grid(run: Game, picture: Image) -> None:
    """A grid of samples is drawn and saved; it shows the generator after `run.iteration` iterations.

    Randomness and exceptions: as with `on_log`.

    Example:

        def on_grid(self, run, picture):
            picture.resize((64, 64)).save(run.directory / f"small-{run.iteration}.png")
    """


@_hook("event")
def on_stop(run: Game) -> None:
    """The run is over, or interrupted, and its last checkpoint is written; or it broke off, and `run.failure` says why.

    What a plugin advises now is still passed on, but for a run that broke off.

    Example:

        def on_stop(self):
            if self.file is not None:
                self.file.close()
    """


@_hook("at most one")
def sampling_generator(run: Game) -> nn.Module | None:
    """The generator to save and to sample from, if it is not the one being trained: a network built like it.

    Example:

        def sampling_generator(self, run):
            return self.average
    """


@_hook("at most one")
def draw_samples(images: Tensor) -> Image | None:
    """A picture of samples (N, C, R, R), where a grid of them would not show what they are.

    Called in a run, and when a saved generator is sampled from.

    Example:

        def draw_samples(self, images):
            return scatter_plot(images.flatten(1))
    """


@_hook("at most one")
def build_extractor(dataset: Dataset, device: torch.device) -> Extractor | None:
    """The extractor of features through which measures see images. For the slot `extractor`; it is built when a run
    with measures begins, and by `gankit eval`.

    Example:

        def build_extractor(self, dataset, device):
            return Extractor({"extractor": "pixels"}, lambda images: Features(images.flatten(1).float()))
    """


@_hook("merged")
def measure(comparison: Comparison) -> Mapping[str, float] | None:
    """Numbers, by name, that compare generated images with real ones; None where there is nothing to say.

    Example:

        def measure(self, comparison):
            real, fake = comparison.real_features.values, comparison.fake_features.values
            return {"mean_distance": (real.mean(0) - fake.mean(0)).norm().item()}
    """


@_hook("merged")
def evaluate(run: Game, generator: nn.Module) -> dict[str, float] | None:
    """Measures of the generator, by name.

    Example:

        def evaluate(self, run, generator):
            return {"fid": frechet_distance(...)}
    """


@_hook("event")
def register_commands(cli: click.Group) -> None:
    """Add a verb to the command line. For plugins of kind `command`, whose entry point bears the verb's name.

    Example:

        def register_commands(self, cli):
            cli.add_command(my_verb, "my-verb")
    """
