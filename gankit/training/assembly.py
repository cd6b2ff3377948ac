"""Assembly of a run from its recipe: networks, optimisers, loss terms and hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gankit.errors import Problem, RecipeError, recipe_errors
from gankit.plugin.build import build_network, build_plugins, to_channels_last
from gankit.plugin.dataset import loaded_once
from gankit.plugin.extra_network import ExtraNetwork
from gankit.plugin.hook_values import describe
from gankit.plugin.hooks import Hooks
from gankit.plugin.schedule import Schedule
from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.spec import Spec
from gankit.plugin.step import DiscriminatorOutput, LossTerm
from gankit.recipe.recipe import Recipe
from gankit.runtime.device import choose_device, computes_in_bf16
from gankit.runtime.ranks import ALONE, Ranks
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng, seed_all, training_seed
from gankit.runtime.sync_batch_norm import convert_sync_batch_norm
from gankit.storage.checkpoint import FILES, PARTS
from gankit.training.memory_check import check_memory, check_step_memory
from gankit.training.run import TrainingRun

CHECKED_CLASSES = 16
"""Maximum number of classes in the small batch with which `check_networks` tests the networks.

The limit does not apply if training batches contain the same number of images of each class.
"""


def assemble(recipe: Recipe, device: str | None = None, ranks: Ranks = ALONE) -> TrainingRun:
    """Build and return the run of a recipe, with networks, optimisers and loss terms. The images are not loaded.

    Args:
        recipe: recipe of the run.
        device: device to use instead of the recipe's `train.device`.
        ranks: processes that train the run together. Default: a single process.

    Raises:
        RecipeError: a plugin rejects the recipe, or the plugins' networks do not fit together.
        InputError: the device or the data cannot be used.
    """
    run = new_run(recipe, choose_device(ranks.device(device or recipe.train.device)), ranks)
    check_memory(run, assemble_unchecked)
    complete(run)
    check_step_memory(run, assemble_unchecked)
    # Building the networks changes the random state, so the training seed is set afterwards.
    seed_all(training_seed(recipe.seed, ranks.rank))
    return run


def assemble_unchecked(recipe: Recipe, device: torch.device) -> TrainingRun:
    """Build and return the run of a recipe in one process, without a check of its memory."""
    run = new_run(recipe, device, ALONE)
    complete(run)
    return run


def new_run(recipe: Recipe, device: torch.device, ranks: Ranks) -> TrainingRun:
    """Return a run with the plugins and the description of the data, without networks."""
    precision = recipe.train.precision
    bf16 = precision == "bf16" or (precision == "auto" and computes_in_bf16(device))
    plugins, hooks = build_plugins(recipe.components, recipe.source)
    warnings = [*check_recipe(recipe, hooks), *rank_warnings(recipe, ranks.size), *schedule_warnings(recipe)]
    run = TrainingRun(recipe, ranks, device, bf16, plugins, hooks, warnings)
    describe_data(run)
    return run


def complete(run: TrainingRun) -> None:
    """Build networks, optimisers and loss terms of a run, and run the networks on a small batch."""
    recipe, hooks = run.recipe, run.hooks
    build_networks(run)
    run.optimizers = {}
    for player in PLAYERS:
        with recipe_errors(recipe.source, f"optimizer.{player}"):
            run.optimizers[player] = hooks.one(
                "build_optimizer", player, run.parameters[player], run.networks[player], player=player
            )
        check_optimizer(run, player)
    run.base_rates = {p: [group["lr"] for group in run.optimizers[p].param_groups] for p in PLAYERS}
    run.terms = collect_terms(run)
    run.schedules = {player: collect_schedules(run, player) for player in PLAYERS}
    resolve_hooks(run)
    check_networks(run)


def check_optimizer(run: TrainingRun, player: Player) -> None:
    """Raise RecipeError if a player's optimiser does not contain all parameters that the player trains."""
    held = {id(p) for group in run.optimizers[player].param_groups for p in group["params"]}
    missing = {id(p) for p in run.parameters[player]} - held
    for name, network in run.networks.items():
        if any(id(p) in missing for p in network.parameters()):
            use = run.recipe.use_of(f"optimizer.{player}")
            message = f"{use} leaves out parameters of the network {name!r}; the optimiser must get all `parameters`"
            raise refusal(run.recipe, f"optimizer.{player}", message)


def check_recipe(recipe: Recipe, hooks: Hooks) -> list[str]:
    """Return the plugins' warnings about the recipe.

    If plugins reject the recipe, raise one RecipeError with all reasons.
    """
    warnings, problems = [], []
    for implementation in hooks.of("check_recipe"):
        try:
            warnings += [f"{implementation.key}: {sentence}" for sentence in implementation.call(recipe) or ()]
        except ValueError as error:
            problems.append(Problem(implementation.key, str(error)))
    if problems:
        raise RecipeError(recipe.source, problems)
    if recipe.train.accumulate > 1:
        warnings += [
            f"{key}: with train.accumulate each image is compared only with the images of its own part of the batch, "
            f"one of {recipe.train.accumulate}; the result differs from that of the whole batch"
            for key in coupling_keys(recipe)
        ]
    return warnings


def rank_warnings(recipe: Recipe, ranks: int) -> list[str]:
    """Return a warning for each plugin, such as batch norm, whose result changes if several ranks share a batch."""
    if ranks == 1:
        return []
    synced = recipe.train.sync_batch_norm
    remedy = "" if synced else "; train.sync_batch_norm = true makes batch norm use the whole batch"
    return [
        f"{key}: each image is compared only with the images of its own rank, one of {ranks}; the result differs from "
        "that of the whole batch" + (remedy if key.startswith("normalization.") else "")
        for key in coupling_keys(recipe)
        if not (synced and key.startswith("normalization."))
    ]


def schedule_warnings(recipe: Recipe) -> list[str]:
    """Return a warning for each setting whose schedule begins only after the last iteration."""
    train = recipe.train
    images = train.iterations * train.discriminator_steps * train.batch_size
    return [
        f"{component.key}.{name}: the schedule begins at {setting.begin} {setting.by}, and the run ends at {end}, so "
        f"the value is always {setting.start}; lower begin"
        for component in recipe.components.values()
        for name, setting in component.config
        if isinstance(setting, Schedule)
        and setting.begin >= (end := train.iterations if setting.by == "iterations" else images)
    ]


def coupling_keys(recipe: Recipe) -> list[str]:
    """Return the recipe keys of all plugins whose result for one image depends on other images of the batch."""
    return list(dict.fromkeys([*recipe.coupling("generator"), *recipe.coupling("discriminator")]))


def describe_data(run: TrainingRun) -> None:
    """Set `run.dataset` from the data plugin, and set `run.spec` from the dataset and all `adjust_spec` hooks."""
    recipe, hooks = run.recipe, run.hooks

    def normalize(player: Player, layer: nn.Module, features: int) -> nn.Module:
        return hooks.one("normalization", player, layer, features, player=player)

    spec = Spec(normalize=normalize)
    with recipe_errors(recipe.source, "data"):
        dataset = hooks.one("load_data", spec)
    if hooks.of("compute_metrics"):
        # Training and metrics both use the images, so read them only once and keep them in memory.
        dataset = loaded_once(dataset)
    spec.shape = dataset.shape
    spec.condition, spec.fields, spec.encoding = dataset.condition, dataset.fields, dataset.encoding
    spec.class_balanced = recipe.train.class_balanced
    for implementation in hooks.of("adjust_spec"):
        with recipe_errors(recipe.source, implementation.key):
            implementation.call(spec)
    check_batch_size(recipe, spec, run.ranks.size)
    run.dataset, run.spec = dataset, spec


def check_batch_size(recipe: Recipe, spec: Spec, ranks: int) -> None:
    """Raise RecipeError if a batch cannot be divided evenly among accumulation steps and ranks.

    With `train.class_balanced`, each part must also contain the same number of images of each class.
    """
    train = recipe.train
    if spec.class_balanced and not spec.classes:
        raise refusal(recipe, "train.class_balanced", "the images have no classes; set it to false")
    balanced = spec.classes if spec.class_balanced else 1
    if train.batch_size % (unit := balanced * train.accumulate):
        raise refusal(
            recipe,
            "train.batch_size",
            f"{train.batch_size} given; with {spec.classes} classes in equal shares in every batch it must be a "
            f"multiple of {unit}: {_multiples_near(train.batch_size, unit)}, for instance",
        )
    if ranks > 1 and train.batch_size % (unit := balanced * train.accumulate * spec.pack * ranks):
        raise refusal(
            recipe,
            "train.batch_size",
            f"{train.batch_size} given; {ranks} ranks share each batch evenly, so it must be a multiple of {unit}: "
            f"{_multiples_near(train.batch_size, unit)}, for instance",
        )


def _multiples_near(number: int, unit: int) -> str:
    """Return the nearest positive multiples of `unit` below and above a number, as text such as `8 or 16`."""
    lower = number // unit * unit
    return " or ".join(str(n) for n in (lower, lower + unit) if n)


def build_networks(run: TrainingRun) -> None:
    """Build all networks of a run, and set the lists of parameters that each player trains or freezes."""
    recipe = run.recipe
    run.networks, run.wrapped_by = {}, {}
    for player in PLAYERS:
        seed_all(derived_seed(recipe.seed, player))
        network, run.wrapped_by[player] = build_network(run.hooks, player, run.spec, run, recipe.source)
        run.networks[player] = placed(run, player, network).train()
    extra = collect_extra_networks(run)
    run.networks |= {name: one.network for name, one in extra.items()}
    run.saved_networks = (*PLAYERS, *(name for name, one in extra.items() if one.saved))
    run.trained_networks = (*PLAYERS, *(name for name, one in extra.items() if one.trained_by))
    trained_by: dict[str, tuple[Player, ...]] = {player: (player,) for player in PLAYERS}
    trained_by |= {name: one.trained_by for name, one in extra.items()}
    parameters = {name: [p for p in run.networks[name].parameters() if p.requires_grad] for name in trained_by}
    run.parameters, run.frozen_parameters = {}, {}
    for player in PLAYERS:
        run.parameters[player] = [p for n, players in trained_by.items() if player in players for p in parameters[n]]
        own = {id(p) for p in run.parameters[player]}
        # G need not be frozen in D's step, because this step generates images with gradients disabled.
        others = [p for n in parameters if n != "generator" for p in parameters[n]]
        run.frozen_parameters[player] = [p for p in others if id(p) not in own]


def collect_extra_networks(run: TrainingRun) -> dict[str, ExtraNetwork]:
    """Return the networks from all `extra_networks` hooks by name, on the device of the run.

    Raises:
        RecipeError: a name is used twice or not allowed, a network that is trained has `saved=False`, or two networks
            share parameters.
    """
    collected: dict[str, ExtraNetwork] = {}
    for implementation in run.hooks.of("extra_networks"):
        seed_all(derived_seed(run.recipe.seed, implementation.key))
        with recipe_errors(run.recipe.source, implementation.key):
            added = implementation.call(run) or {}
        for name, extra in added.items():
            others = run.networks | {other: one.network for other, one in collected.items()}
            if message := extra_network_mistake(name, extra, others):
                raise refusal(run.recipe, implementation.key, f"the extra network {name!r} {message}")
            network = placed(run, implementation.key, extra.network)
            network = network.train() if extra.trained_by else network.eval().requires_grad_(False)
            collected[name] = replace(extra, network=network)
    return collected


def extra_network_mistake(name: str, extra: ExtraNetwork, others: Mapping[str, nn.Module]) -> str | None:
    """Return an error message about an extra network, or None if there is no error.

    The caller puts the name of the network before the message. `others` contains the run's other networks by name.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or f"{name}.safetensors" in FILES:
        return f"needs another name: small letters, digits and underscores, and not one of {', '.join(PARTS)}"
    if name in others:
        return "exists twice; rename one, or remove one of the two plugins"
    if isinstance(extra.trained_by, str):
        return f"has trained_by={extra.trained_by!r}; write a tuple: ({extra.trained_by!r},)"
    if unknown := [player for player in extra.trained_by if player not in PLAYERS]:
        return f"is trained by {unknown[0]!r}; the players are {' and '.join(PLAYERS)}"
    if extra.trained_by and not extra.saved:
        return "is trained, so checkpoints must contain it; leave out saved=False"
    own = {id(p) for p in extra.network.parameters()}
    for other, network in others.items():
        if any(id(p) in own for p in network.parameters()):
            return f"has parameters of the network {other!r}; let it take an output of {other!r} as its input"
    return None


def placed(run: TrainingRun, key: str, network: nn.Module) -> nn.Module:
    """Check the state of a network, and return the network on the run's device and in the run's memory format.

    With several ranks and `train.sync_batch_norm`, also convert the batch norm layers of the network to
    `SharedBatchNorm`.
    """
    check_state(run.recipe, key, network)
    if run.recipe.train.channels_last:
        to_channels_last(network)
    if run.recipe.train.sync_batch_norm and run.ranks.size > 1:
        network = convert_sync_batch_norm(network, run.ranks.size)
    return network.to(run.device)


def check_state(recipe: Recipe, key: str, network: nn.Module) -> None:
    """Raise RecipeError if a network has lazy parameters of unknown size, or if a module defines `get_extra_state`."""
    if any(is_lazy(parameter) for parameter in network.parameters()):
        message = "has lazy layers, whose sizes are unknown before the first call; give the sizes of these layers"
        raise refusal(recipe, key, message)
    for module in network.modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            message = (
                f"{type(module).__name__} has get_extra_state, and checkpoints contain tensors only; keep the state "
            )
            raise refusal(recipe, key, message + "in a buffer (register_buffer), or in the plugin's state_dict")


def collect_terms(run: TrainingRun) -> dict[Player, list[LossTerm]]:
    """Return the loss terms of each player in the order of the recipe. Each term of a player has a unique name."""
    loss = wrapped_loss(run)
    collected: dict[Player, list[LossTerm]] = {}
    for player in PLAYERS:
        named: dict[str, LossTerm] = {}
        for implementation in run.hooks.of("loss_terms", player):
            is_loss = implementation.key == "loss"
            with recipe_errors(run.recipe.source, implementation.key):
                terms = loss[player] if is_loss else list(implementation.call(player, run) or ())
            for term in terms:
                # If a recipe uses the same penalty twice, the second term's name starts with the key of its plugin.
                others = (f"{implementation.key}.{term.name}{number}" for number in ("", *range(2, len(named) + 2)))
                name = next(n for n in (term.name, *others) if n not in named)
                named[name] = replace(term, name=name)
        if not named:
            raise refusal(run.recipe, "loss", f"no plugin provides a loss for the {player}")
        collected[player] = list(named.values())
    return collected


def wrapped_loss(run: TrainingRun) -> dict[Player, list[LossTerm]]:
    """Return the loss plugin's terms for each player, after all `wrap_loss` hooks have changed them."""
    terms: dict[Player, list[LossTerm]] = {player: [] for player in PLAYERS}
    for implementation in run.hooks.of("loss_terms"):
        if implementation.key == "loss":
            with recipe_errors(run.recipe.source, "loss"):
                terms = {player: list(implementation.call(player, run) or ()) for player in PLAYERS}
    for implementation in run.hooks.of("wrap_loss"):
        wrapped = implementation.call(terms, run)
        terms = terms if wrapped is None else wrapped
    return terms


def collect_schedules(run: TrainingRun, player: Player) -> list[Callable[[int], float]]:
    """Return the learning-rate schedules of a player. Each schedule maps an iteration to a factor."""
    schedules = []
    for implementation in run.hooks.of("lr_schedule", player):
        schedule = implementation.call(player, run)
        if schedule is not None:
            schedules.append(schedule)
    return schedules


def resolve_hooks(run: TrainingRun) -> None:
    """Set the hook attributes of the run, such as `run.after_step`, to functions that call the plugins."""
    hooks = run.hooks
    run.before_step = {"discriminator": hooks.event("before_d_step"), "generator": hooks.event("before_g_step")}
    run.after_step = {"discriminator": hooks.event("after_d_step"), "generator": hooks.event("after_g_step")}
    run.after_backward = hooks.event("after_backward")
    run.before_iteration = hooks.event("before_iteration")
    run.after_iteration = hooks.event("after_iteration")
    run.on_log, run.on_stop = hooks.event("on_log"), hooks.event("on_stop")
    run.on_grid, run.on_samples = hooks.event("on_grid"), hooks.event("on_samples")
    run.input_hooks = hooks.calls("discriminator_inputs")
    run.metrics = {implementation.key: implementation.call for implementation in hooks.of("compute_metrics")}
    run.step_order = hooks.sole("step_order")
    run.draw_step = hooks.sole("draw_step")
    run.loss_weights = hooks.calls("loss_weights")
    run.backward = hooks.sole("backward")
    sample_latent = hooks.sole("sample_latent")
    if sample_latent is None:
        message = f"{run.recipe.use_of('latent')!r} does not implement sample_latent, so there is no z"
        raise refusal(run.recipe, "latent", message)
    run.sample_latent = sample_latent


def check_networks(run: TrainingRun) -> None:
    """Run both networks on a small batch. Raise RecipeError if a network fails or a shape is wrong.

    The batch contains all image classes. If there are more than `CHECKED_CLASSES` classes and `train.class_balanced`
    is false, the batch contains only some classes, including the first and the last. A batch with all classes
    could need more memory than the training.
    """
    spec = run.spec
    classes = spec.classes if spec.class_balanced else min(spec.classes, CHECKED_CLASSES)
    count = max(2, classes)
    condition = blank_condition(spec, count, run.device)
    with torch.no_grad(), fork_rng(run.device), eval_mode(run.generator), eval_mode(run.discriminator):
        with recipe_errors(run.recipe.source, "latent"):
            z = run.draw_latent(count, condition)
        images = _call(run, "generator", lambda: run.generator(z, condition), f"z of shape {tuple(z.shape)}")
        expected = (count, *run.dataset.shape)
        if not isinstance(images, Tensor) or images.shape != expected:
            message = f"returns {describe(images)}; it must return images of shape {expected}"
            raise refusal(run.recipe, "generator", message)
        inputs = images.float().repeat(1, spec.pack, *[1] * (images.dim() - 2))
        given = f"images of shape {tuple(inputs.shape)}"
        second = z if spec.latent_pairs else blank_condition(spec.packed(), count, run.device)
        output = _call(run, "discriminator", lambda: run.discriminator(inputs, second), given)
        if not is_discriminator_output(output, count):
            message = (
                f"returns {describe(output)}; it must return a DiscriminatorOutput: logits of shape {(count,)} or "
                f"({count}, ...), features ({count}, F), and further outputs by name"
            )
            raise refusal(run.recipe, "discriminator", message)


def blank_condition(spec: Spec, count: int, device: torch.device) -> Tensor | None:
    """Return a condition (count, ...) with arbitrary valid values, or None for data without a condition."""
    return None if spec.condition is None else spec.condition.blank(count).to(device)


def is_discriminator_output(output: Any, count: int) -> bool:
    """Return True if `output` has the shapes of a `DiscriminatorOutput` for `count` inputs."""
    if not (isinstance(output, tuple) and len(output) in (2, 3)):
        return False
    logits, features, extra = DiscriminatorOutput(*output)
    if not isinstance(extra, Mapping):
        return False
    return all(isinstance(x, Tensor) and x.shape[:1] == (count,) for x in (logits, features, *extra.values()))


def _call(run: TrainingRun, player: Player, network: Callable[[], Any], given: str) -> Any:
    try:
        return network()
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        message = f"does not accept {given}: {' '.join(str(error).split())[:200]}"
        raise refusal(run.recipe, player, message) from error


def refusal(recipe: Recipe, key: str, message: str) -> RecipeError:
    """Return a RecipeError that reports one mistake, at the given key of the recipe."""
    return RecipeError(recipe.source, [Problem(key, message)])
