"""Hook points of gankit: the order of the calls, the arguments, and the return values.

This pseudocode shows where a run calls the hook points:

    check_recipe(recipe)                                      # returns warnings, or raises ValueError
    dataset = load_data(spec)
    adjust_spec(spec)
    for player in generator, discriminator:
        network = build_generator(spec, run) or build_discriminator(spec, run)
            normalization(player, layer, features)            # called by the network for its layers
        network = wrap_network(player, network, run, spec)
    networks |= extra_networks(run)                           # for example an encoder
    for player in generator, discriminator:
        optimizer = build_optimizer(player, parameters, network)
    terms = wrap_loss(loss_terms(player, run), run)           # terms of the `loss` plugin
    terms += loss_terms(player, run)                          # terms of all other plugins
    schedules = lr_schedule(player, run)
    extractor = build_extractor(dataset, device)              # if the recipe has metrics
    on_start(run)
    while run.iteration < train.iterations:
        before_iteration(run)
        for player in step_order(run):                        # default: the D steps, then one G step
            for micro_batch in range(train.accumulate):       # gradient accumulation
                step = draw_step(run, player)                 # default: the next three lines
                    real, condition, fields = run.draw_real()
                    z = sample_latent(count, condition, device, generator)
                    step = Step(run, player, real, condition, z, fake=G(z, condition), fields=fields)
                before_d_step(run, step) or before_g_step(run, step)
                # The loss terms use step.real_output and step.fake_output. Each output is computed once, by the call
                #     D(discriminator_inputs(images, condition, source, player, run, step))
                terms = terms with weights multiplied by loss_weights(run, player)
                backward(run, step, player, terms)            # default: the gradient of the weighted sum of the terms
            # With several ranks, gradients and term values are averaged over the ranks here.
            after_backward(run, step, player)                 # with the `step` of the last micro-batch
            # The optimiser updates the network. The learning rate is multiplied by the values of all schedules.
            after_d_step(run, step) or after_g_step(run, step)
        run.iteration += 1
        after_iteration(run)
        every output.log_every:     row = losses, learning rates, log_values(run)
                                    on_log(run, row)
        every output.sample_every:  network = sampling_generator(G, run)
                                    condition = sampling_conditions(count, requested, generator)
                                    z = sampling_latent(sample_latent(...), redraw, generator, truncate)
                                    # `truncate` calls truncate_latent(z, redraw, threshold).
                                    picture = draw_samples(images, condition, columns, row_names)
                                    save_samples(samples, names, folder)  # a few samples of the grid
                                    on_grid(run, picture)
                                    on_samples(run, samples, condition)
        every evaluation.every:     compute_metrics(comparison)
        every output.checkpoint_every:                        # the generator's file is written too
                                    generator_facts(run)
    on_stop(run)
    z = encode(run, images)                                   # only in `gankit reconstruct`, with saved networks
    masks = find_parts(images, fields)                        # only in `gankit explain`

A hook implementation can take any subset of the arguments, by name. Plugins are called in the order of the recipe.
`run` is the training run, a `gankit.Run`.

Kinds of hook point:

- *exactly one*: each plugin may return a value or None. It is an error if no plugin or more than one plugin returns a
  value.
- *at most one*: each plugin may return a value or None. It is an error if more than one plugin returns a value.
- *event*: all plugins are called. They return no value.
- *chain*: each plugin gets the value that the previous plugin returned.
- *list*: the returned values are collected in a list.
- *merged*: the returned dictionaries are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import click
    import torch
    from PIL.Image import Image
    from torch import Tensor, nn

    from gankit.plugin.comparison import Comparison
    from gankit.plugin.dataset import Dataset
    from gankit.plugin.extra_network import ExtraNetwork
    from gankit.plugin.extractor import Extractor
    from gankit.plugin.protocols import RecipeInfo, Run
    from gankit.plugin.slots import Player
    from gankit.plugin.spec import Spec
    from gankit.plugin.step import LossTerm, Source, Step

HookKind = Literal["exactly one", "at most one", "event", "chain", "list", "merged"]

KIND_OF_HOOK: dict[str, HookKind] = {}
"""Kind of each hook point, by name, in the order in which the hook points are declared below."""

_hookspec = pluggy.HookspecMarker("gankit")


def _hook(
    kind: HookKind, *, deprecated: str | None = None, deprecated_arguments: Mapping[str, str] | None = None
) -> Callable[[Callable], Callable]:
    """Return a decorator that declares a function as a hook point.

    Args:
        kind: kind of the hook point. The kind defines how the returned values are combined.
        deprecated: text that names the replacement of a deprecated hook point. A plugin that implements the deprecated
            hook point causes a warning.
        deprecated_arguments: dict from each deprecated argument to a text that names its replacement. A plugin that
            takes a deprecated argument causes a warning.
    """

    def declare(function: Callable) -> Callable:
        name = function.__name__
        KIND_OF_HOOK[name] = kind
        # Use FutureWarning, because by default Python does not show a DeprecationWarning from imported modules.
        whole = FutureWarning(f"the hook point {name} is deprecated: {deprecated}") if deprecated else None
        single = {
            argument: FutureWarning(f"the argument {argument!r} of {name} is deprecated: {instead}")
            for argument, instead in (deprecated_arguments or {}).items()
        }
        return _hookspec(function, warn_on_impl=whole, warn_on_impl_args=single or None)

    return declare


# Hook points that are called while a run is built.


@_hook("list")
def check_recipe(recipe: RecipeInfo) -> Iterable[str] | None:
    """Return warnings about combinations of plugins and settings that have no effect or harm training.

    Raise `ValueError` for a combination that cannot work.

    Example:

        def check_recipe(self, recipe):
            if recipe.use_of("normalization.discriminator") == "batch_norm":
                yield "batch norm in D couples the images of a batch, and the penalty needs them to be independent"
    """


@_hook("exactly one")
def load_data(spec: Spec) -> Dataset | None:
    """Return the description of the dataset. The images are read later, when training begins.

    Example:

        def load_data(self):
            return Dataset((1, 28, 28), ClassCondition(tuple("0123456789")), load=self.read)
    """


@_hook("event")
def adjust_spec(spec: Spec) -> None:
    """Change fields of `spec`, the specification from which the networks are built.

    This hook is not called when a saved generator is rebuilt, because the generator's file already contains the changed
    fields.

    Example:

        def adjust_spec(self, spec):
            spec.latent_size = self.config.size
    """


@_hook("exactly one")
def normalization(player: Player, layer: nn.Module, features: int) -> nn.Module | None:
    """Add normalisation to a layer and return the result, for example the layer followed by batch norm.

    The networks call this hook through `spec.normalize`, for each convolution and linear layer that may be normalised.
    The layer is `nn.Identity` if a network normalises the input (B, C, H, W) of a residual block. `features` is the
    number of output channels of the layer. The plugin `normalization.generator` is called only for the generator's
    layers, and the plugin `normalization.discriminator` only for the discriminator's layers.

    Example:

        def normalization(self, layer, features):
            return nn.Sequential(layer, nn.BatchNorm2d(features))
    """


@_hook("exactly one")
def build_generator(spec: Spec, run: Run | None) -> nn.Module | None:
    """Return the generator: a module `G(z, condition)` that returns images (B, C, H, W) in [-1, 1].

    The inputs of the generator are z, (B, latent_size), and the condition, which is None for data without a condition.
    The condition has the form that `spec.condition` describes, for example labels (B,) or source images (B, C, H, W) in
    [-1, 1].

    When a saved generator is rebuilt, `run` is None. Afterwards, the parameters and buffers are loaded from the
    generator's file.

    Example:

        def build_generator(self, spec):
            return Generator(spec, width=self.config.width)
    """


@_hook("exactly one")
def build_discriminator(spec: Spec, run: Run) -> nn.Module | None:
    """Return the discriminator: a module `D(images, condition)` that returns a `DiscriminatorOutput`.

    The output contains logits, features (B, F), and optionally further outputs by name. The logits are (B,), or
    (B, ...) if each image has several logits. The features are the input of the discriminator's last layer. If
    `spec.latent_pairs` is true, the discriminator takes pairs of an image and z: the second input is z,
    (B, latent_size), instead of the condition.

    Example:

        def build_discriminator(self, spec):
            return Critic(spec, width=self.config.width)
    """


@_hook("chain")
def wrap_network(player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module | None:
    """Initialise, change or wrap a network. Return the network that replaces `network`, or None to keep `network`.

    `spec` is the specification from which the network was built. When a saved generator is rebuilt, this hook is called
    with None for `run`. Afterwards, the parameters and buffers are loaded from the generator's file.

    Example:

        def wrap_network(self, player, network):
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.orthogonal_(module.weight)
    """


@_hook("merged")
def extra_networks(run: Run) -> Mapping[str, ExtraNetwork] | None:
    """Return further networks of the run by name, such as an encoder or a frozen feature network.

    `run.networks` then contains each network under its name, in addition to `generator` and `discriminator`. The run
    manages the device, precision, optimiser, checkpoints and distributed training of these networks, as it does for the
    generator and the discriminator. In the steps of a player, the parameters of extra networks that this player does
    not train have `requires_grad=False`.

    Example:

        def extra_networks(self, run):
            return {"encoder": ExtraNetwork(Encoder(run.spec), trained_by=("generator",))}
    """


@_hook("exactly one")
def build_optimizer(
    player: Player, parameters: Sequence[nn.Parameter], network: nn.Module
) -> torch.optim.Optimizer | None:
    """Return the optimiser of one player, for the parameters that this player trains.

    `network` is the player's network. Use `network.named_parameters()` for parameter groups with different learning
    rates. `parameters` also contains the parameters of the extra networks that the player trains. The optimiser must
    contain all `parameters`.

    gankit calls the plugin `optimizer.generator` of the recipe for the generator, and `optimizer.discriminator` for the
    discriminator.

    Example:

        def build_optimizer(self, parameters):
            return torch.optim.SGD(parameters, lr=self.config.lr)
    """


@_hook("list")
def lr_schedule(player: Player, run: Run) -> Callable[[int], float] | None:
    """Return a function that takes the iteration (0, 1, ...) and returns a factor for the learning rate.

    The factors of several schedules are multiplied.

    Example:

        def lr_schedule(self, run):
            return lambda t: min(1.0, (t + 1) / self.config.warmup)
    """


@_hook("chain")
def wrap_loss(terms: dict[Player, list[LossTerm]], run: Run) -> dict[Player, list[LossTerm]] | None:
    """Return new loss terms that replace `terms`, the terms of the recipe's `loss` plugin. Return None to keep `terms`.

    The terms of all other plugins are added later.

    Example:

        def wrap_loss(self, terms):
            return terms | {"generator": [LossTerm("feature_matching", feature_matching)]}
    """


@_hook("list")
def loss_terms(player: Player, run: Run) -> Iterable[LossTerm] | None:
    """Return terms to add to the player's loss. The loss is the weighted sum of the terms of all plugins.

    Example:

        def loss_terms(self, player):
            def r1(step):
                (gradient,) = torch.autograd.grad(step.real_output.logits.sum(), step.real_inputs[0], create_graph=True)
                return gradient.square().sum((1, 2, 3)).mean() / 2

            if player == "discriminator":
                yield LossTerm("r1", r1, weight=10.0, every=16, input_gradients=("real",))
    """


# Hook points that are called after the run is built, or by other commands such as `gankit eval`.


@_hook("event")
def on_start(run: Run) -> None:
    """Run code before the first iteration. In a resumed run, this hook is called after the checkpoint is loaded.

    `run.directory` is None in a run that writes no files, such as a `gankit.Session`.

    Example:

        def on_start(self, run):
            self.file = open(run.directory / "losses.csv", "a") if run.directory is not None else None
    """


@_hook("event")
def before_iteration(run: Run) -> None:
    """Run code before the steps of an iteration, for example to change a schedule or to add layers to a network.

    `run.iteration` is the number of completed iterations.

    Example:

        def before_iteration(self, run):
            self.level.fill_(level_at(run.iteration))
    """


@_hook("at most one")
def step_order(run: Run) -> Sequence[Player] | None:
    """Return the players of the next iteration, in the order of their steps.

    Default: `train.discriminator_steps` D steps, then one G step.

    Example:

        def step_order(self, run):
            return ["discriminator"] * (100 if run.iteration < 25 else 5) + ["generator"]
    """


@_hook("exactly one")
def sample_latent(
    count: int, condition: Tensor | None, device: torch.device, generator: torch.Generator | None
) -> Tensor | None:
    """Draw latent vectors z from the prior, (count, latent_size), and return them on `device`.

    `generator` is the random number generator to use. If it is None, PyTorch's default generator is used. Exactly one
    plugin of a recipe implements this hook point, usually the `latent` plugin.

    Example:

        def sample_latent(self, count, device, generator):
            return torch.randn(count, self.config.size, device=device, generator=generator)
    """


@_hook("at most one")
def sampling_conditions(
    count: int, requested: Mapping[str, str | float], generator: torch.Generator, spec: Spec
) -> Tensor | None:
    """Return the condition that a user requests for `count` samples, as a tensor in the form that G takes as input.

    `requested` contains the values that the user requests, by name. For example, it is `{"class": "cat"}` for
    `gankit sample --class cat`, `{"age": "30"}` for `--set age=30`, and `{"text": "a red circle"}` for `--text`. For
    the sample grids of a run, `requested` is empty. Draw random numbers with `generator`, on the CPU. This hook is
    called with gradients disabled, and is not called if the user gives source images. `spec` is the specification from
    which the generator was built.

    If no plugin returns a tensor, `spec.condition` creates the conditions. If `requested` is empty, the conditions
    cycle through the classes, or are copies of the conditions of real images. Numbers that the user requests, such as
    an age, replace the corresponding numbers in the copies.

    Example:

        def sampling_conditions(self, count, requested):
            return self.encoder(requested["text"]).expand(count, -1) if "text" in requested else None
    """


@_hook("at most one")
def truncate_latent(z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor | None:
    """Return latent vectors z, (count, latent_size), with all components within `threshold` of the centre of the prior.

    The command `gankit sample --truncation` and the trick `truncation` call this hook. Truncation is an error if no
    plugin implements this hook. `redraw()` draws another z of the same shape from the prior. The function
    `gankit.truncated` redraws each component whose absolute value exceeds the threshold.

    Example:

        def truncate_latent(self, z, redraw, threshold):
            return truncated(z, redraw, threshold)
    """


@_hook("chain")
def sampling_latent(  # type: ignore[empty-body]
    z: Tensor, redraw: Callable[[], Tensor], generator: torch.Generator, truncate: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Change the latent vectors z, (count, latent_size), before samples are generated from them. Return the new z.

    This hook is not called in training steps. `redraw()` draws another z of the same shape from the prior, and
    `truncate(z, threshold)` calls the hook `truncate_latent`. Draw all other random numbers with `generator`, on the
    CPU, so that equal seeds give equal samples.

    Example:

        def sampling_latent(self, z):
            return z * self.config.temperature
    """


@_hook("at most one")
def draw_step(run: Run, player: Player) -> Step | None:
    """Return the data of a step: real images, z and fake images.

    If this hook returns None, the data are drawn as usual. Use this hook for a different batch size, or for fake images
    that depend on real images. In a D step, the hook is called with gradients disabled. If D's optimiser trains a
    network, such as an encoder, call this network in a loss term, not in this hook.

    Example:

        def draw_step(self, run, player):
            real, condition, fields = run.draw_real()
            encoder = run.networks["encoder"]
            z = encoder(real).float()
            fake = run.generator(z, condition).float()
            return Step(run, player, real, condition, z, fake, fields=fields)
    """


@_hook("event")
def before_d_step(run: Run, step: Step) -> None:
    """Change the data of a D step before D is called: assign to the images, targets or weights of `step`.

    Example:

        def before_d_step(self, step):
            step.real_target = 0.9
    """


@_hook("event")
def before_g_step(run: Run, step: Step) -> None:
    """Change the data of a G step before D is called: assign to the fields of `step`.

    Example:

        def before_g_step(self, step):
            step.generator_target = 0.0
    """


@_hook("chain")
def discriminator_inputs(  # type: ignore[empty-body]
    images: Tensor, condition: Tensor | None, source: Source, player: Player, run: Run, step: Step
) -> tuple[Tensor, Tensor | None]:
    """Change the inputs of D, which are images (B, C, H, W) and their condition. Return the new inputs.

    This hook is called in both D and G steps. The other tensors of the batch, such as z, are attributes of `step`. If
    `spec.latent_pairs` is true, D takes z as its condition. The discriminator plugin must then return z,
    (B, latent_size), as the second value of this hook.

    Example:

        def discriminator_inputs(self, images, condition):
            return images + self.config.sigma * torch.randn_like(images), condition
    """


@_hook("merged")
def loss_weights(run: Run, player: Player) -> Mapping[str, float | Tensor] | None:
    """Return factors for the weights of the player's loss terms in this step, by the name of the term.

    A term without a factor keeps its weight. A factor is a number or a scalar tensor. A tensor may depend on parameters
    of an extra network, which then get gradients from the loss. If several plugins return a factor for a term, the
    factors are multiplied. The log shows the values of the terms without weights and factors. `run.terms[player]`
    contains all terms of the player.

    Example:

        def loss_weights(self, run, player):
            return {"adversarial": min(1.0, run.iteration / 1000)} if player == "generator" else None
    """


@_hook("at most one")
def backward(run: Run, step: Step, player: Player, terms: Sequence[LossTerm]) -> dict[str, Tensor] | None:
    """Replace the default backward pass: accumulate gradients in `.grad`, and return the unweighted value of each term.

    Return None to keep the default, for example in the steps of the other player. The `weight` of each term is a
    number, even if the recipe sets a schedule, or a scalar tensor, if a plugin returns a tensor from `loss_weights`.
    gankit has already multiplied the weight by the term's interval `every` and divided it by `train.accumulate`. With
    bf16, the hook runs in autocast. For arithmetic on gradients, turn autocast off with
    `torch.autocast(device.type, enabled=False)`.

    Example:

        def backward(self, run, step, player, terms):
            values = {term.name: term.function(step) for term in terms}
            ...  # add the gradients to the `.grad` of the parameters
            return values
    """


@_hook("event")
def after_backward(run: Run, step: Step, player: Player) -> None:
    """Change the player's accumulated gradients before its optimiser uses them.

    Example:

        def after_backward(self, run, player):
            torch.nn.utils.clip_grad_norm_(run.networks[player].parameters(), self.config.norm)
    """


@_hook("event")
def after_d_step(run: Run, step: Step) -> None:
    """Run code after D's optimiser has updated D's parameters.

    Example:

        def after_d_step(self, run):
            for weight in run.discriminator.parameters():
                weight.data.clamp_(-0.01, 0.01)
    """


@_hook("event")
def after_g_step(run: Run, step: Step) -> None:
    """Run code after G's optimiser has updated G's parameters.

    Example:

        def after_g_step(self, run):
            torch._foreach_lerp_(self.average, list(run.generator.parameters()), 0.001)
    """


@_hook("event")
def after_iteration(run: Run) -> None:
    """Run code after all steps of an iteration. `run.iteration` already includes this iteration.

    Example:

        def after_iteration(self, run):
            if run.iteration % 100 == 0 and self.collapsed(run):
                run.stop("the images have collapsed to one")
    """


@_hook("merged")
def log_values(run: Run) -> Mapping[str, float | Tensor] | None:
    """Return numbers for the log, such as the strength of an augmentation, by name. A tensor must be a scalar.

    The log, the report and the output of loggers contain these numbers. With several ranks, only the first rank calls
    this hook.

    Example:

        def log_values(self):
            return {"augmentation_p": self.p}
    """


@_hook("merged")
def generator_facts(run: Run) -> Mapping[str, float | str] | None:
    """Return facts to write into the generator's file, such as the guarantee of private training, by name.

    `Sampler.load(FILE).card["facts"]` contains the facts, and `gankit push` writes them into the model card. The file
    may be published, so the facts must not reveal anything else about the data. The hook is called each time that a
    generator file is written.

    Example:

        def generator_facts(self):
            return {"privacy_epsilon": self.epsilon, "privacy_unit": "one image"}
    """


@_hook("event")
def on_log(run: Run, row: dict[str, Any]) -> None:
    """Receive a new row of `log.jsonl`. The row contains losses and learning rates, or metrics, or a warning.

    Random numbers that are drawn in this hook do not affect the training. A resumed run removes the rows after its
    checkpoint from the log, and logs these iterations again. An exception in this hook ends the run. Therefore, a
    plugin that writes to a server should catch connection errors and call `run.warn`.

    Example:

        def on_log(self, row):
            if "loss" in row:
                self.writer.writerow([row["iteration"], row["loss"]["discriminator"]["adversarial"]])
    """


@_hook("event")
def on_grid(run: Run, picture: Image) -> None:
    """Receive a new grid of sample images. The run has already saved the grid as a file.

    Random numbers that are drawn in this hook do not affect the training. An exception in this hook ends the run.

    Example:

        def on_grid(self, run, picture):
            picture.resize((64, 64)).save(run.directory / f"small-{run.iteration}.png")
    """


@_hook("event")
def on_samples(run: Run, samples: Tensor, condition: Tensor | None) -> None:
    """Receive the samples of a grid, (N, *shape) in [-1, 1] on the CPU, and their condition.

    The condition is None for data without a condition. Use this hook instead of `on_grid` if a plugin needs the values
    of the samples, for example for audio. This hook is called after `on_grid`. Random numbers that are drawn in this
    hook do not affect the training.

    Example:

        def on_samples(self, run, samples):
            self.loudest = samples.abs().max().item()
    """


@_hook("event")
def on_stop(run: Run) -> None:
    """Close files and connections at the end of a run: after the last checkpoint, or after an error.

    After an error, `run.failure` is the error message, and warnings from `run.warn` are not shown.

    Example:

        def on_stop(self):
            if self.file is not None:
                self.file.close()
    """


@_hook("chain")
def sampling_generator(network: nn.Module, run: Run) -> nn.Module | None:
    """Return the generator to save and to sample from, such as a moving average, or None to keep `network`.

    The first plugin gets the trained generator, and each later plugin gets the network that the previous plugin
    returned. The parameters of the returned network must have the same names and shapes as those of `network`. The
    plugin must not change `network` itself.

    Example:

        def sampling_generator(self, network):
            return with_new_statistics(copy.deepcopy(network))
    """


@_hook("at most one")
def draw_samples(
    images: Tensor, condition: Tensor | None, columns: int, row_names: Sequence[str], spec: Spec
) -> Image | None:
    """Return a picture of samples (N, *shape) in [-1, 1], for data that cannot be shown as images, such as 2D points.

    This hook is called for the sample grids of a run, and for samples of a saved generator. `condition` is the
    condition of each sample, or None. The picture of a sample grid has `columns` samples in each row. `row_names`
    contains the name of each row, such as its class, or is empty. Without the argument `columns`, the picture counts as
    one plot of all samples. Options of `gankit sample` that need rows, such as `--interpolate`, are then refused.
    `spec` is the specification from which the generator was built. `spec.encoding` contains what the data plugin found
    in the original data.

    Example:

        def draw_samples(self, images):
            return scatter_plot(images.flatten(1))
    """


@_hook("at most one")
def save_samples(samples: Tensor, names: Sequence[str], folder: Path, spec: Spec) -> Sequence[Path] | None:
    """Write samples, (N, *shape) in [-1, 1] on the CPU, to files in an existing folder. Return the paths of the files.

    This hook is for data that are not images, such as audio. `gankit sample` calls it, and a run calls it with a few
    samples of each sample grid. The report of the run shows files with the suffixes .wav, .gif, .png, .txt and .csv.
    `names` contains one file name without suffix for each sample. Each name contains the number of the sample, and its
    class if there is one. `spec` is the specification from which the generator was built. Without this hook, each
    sample is saved as a PNG file.

    Example:

        def save_samples(self, samples, names, folder):
            paths = [folder / f"{name}.csv" for name in names]
            for path, row in zip(paths, samples.tolist()):
                path.write_text(",".join(map(str, row)))
            return paths
    """


@_hook("at most one")
def save_sample_file(samples: Tensor, condition: Tensor | None, path: Path, spec: Spec) -> Path | None:
    """Write all samples, (N, *shape) in [-1, 1] on the CPU, to one file, and return `path`.

    This hook is called by `gankit sample` if the path of `--out` has a suffix that the plugin's `sample_suffixes`
    contains, such as `rows.json`. `condition` is the condition of the samples, (N, ...), or None. `spec` is the
    specification from which the generator was built. gankit renames the file after this call, so that the user's file
    is complete or unchanged. Return None for a path that the plugin does not write.

    Example:

        def save_sample_file(self, samples, path):
            path.write_text(json.dumps(samples.tolist()))
            return path
    """


@_hook("at most one")
def encode(run: Run, images: Tensor) -> Tensor | None:
    """Return z, (B, latent_size), from which G generates images that are similar to `images`, (B, C, H, W) in [-1, 1].

    This hook is called by `gankit reconstruct`, with gradients disabled. The networks are loaded from the run's newest
    checkpoint, and are in evaluation mode. The state of the plugins is restored from the checkpoint, but `on_start` is
    not called.

    Example:

        def encode(self, run, images):
            return run.networks["encoder"](images).float()
    """


@_hook("at most one")
def find_parts(images: Tensor, fields: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return the pixels of each part of images: a dict of bool masks (N, H, W) by the name of the part.

    This hook is called by `gankit explain`, with gradients disabled, for real and generated images, (N, C, H, W) uint8
    on the CPU. `fields` contains the dataset's fields of real images, such as true masks. For generated images, which
    have no fields, it is empty. Find the parts then from the pixels, by a rule or with a segmentation network. A part
    may be absent from an image: a rule that always finds it cannot show that an ablation removes it.

    Example:

        def find_parts(self, images, fields):
            return {"sky": images[:, 2] > 200}
    """


@_hook("exactly one")
def build_extractor(dataset: Dataset, device: torch.device) -> Extractor | None:
    """Return the feature extractor that the metrics use.

    This hook is called when a run with metrics begins, and by `gankit eval`.

    Example:

        def build_extractor(self, dataset, device):
            return Extractor({"extractor": "pixels"}, lambda images: Features(images.flatten(1).float()))
    """


@_hook("merged")
def compute_metrics(comparison: Comparison) -> Mapping[str, float] | None:
    """Compare generated samples with real samples. Return a dict of metrics, or None if the metrics do not apply.

    Features are available only if the recipe has an extractor.

    Example:

        def compute_metrics(self, comparison):
            real, fake = comparison.real_features.values, comparison.fake_features.values
            return {"mean_distance": (real.mean(0) - fake.mean(0)).norm().item()}
    """


@_hook("event")
def register_commands(cli: click.Group) -> None:
    """Add a command to gankit's command line. This hook is called only for plugins of kind `command`.

    The name of the plugin's entry point must be the name of the command.

    Example:

        def register_commands(self, cli):
            cli.add_command(my_command, "my-command")
    """
