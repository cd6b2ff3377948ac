"""One training iteration. Each step draws samples, computes the loss and its gradients, and updates G or D."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from gankit.errors import PluginError
from gankit.plugin.protocols import StepOrder
from gankit.plugin.schedule import value_at
from gankit.plugin.slots import Player
from gankit.plugin.step import LossTerm, Step
from gankit.training.run import TrainingRun


def train_iteration(run: TrainingRun) -> None:
    """Run all steps of one training iteration."""
    run.gradient_norms.clear()
    run.before_iteration(run)
    order = run.step_order(run) if run.step_order is not None else None
    for player in order if order is not None else default_step_order(run):
        train_step(run, player)
    run.iteration += 1


def has_log_row(run: TrainingRun, iteration: int) -> bool:
    """Return True if the recipe requires a log row with losses after the given iteration."""
    return iteration % run.recipe.output.log_every == 0 or iteration == run.recipe.train.iterations


def default_step_order(run: TrainingRun) -> StepOrder:
    """Return the players in the order of their steps: D `train.discriminator_steps` times, then G once."""
    steps: list[Player] = ["discriminator"] * run.recipe.train.discriminator_steps
    return [*steps, "generator"]


def train_step(run: TrainingRun, player: Player) -> None:
    """Run one training step of a player: update the weights of G or D once."""
    parts = run.recipe.train.accumulate
    terms = due_terms(run, player, parts)
    values: dict[str, Tensor] = {}
    # The G step does not update D. Without gradients for D's weights, D's backward pass takes a third less time.
    frozen = [w for w in run.frozen_parameters[player] if w.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        # Gradient accumulation: the backward pass adds the gradients of each micro-batch to the earlier gradients.
        for _ in range(parts):
            with run.autocast():
                step = draw_step(run, player)
                step.require_input_gradients(terms)
                run.before_step[player](run, step)
                weighted = with_factors(run, player, terms)
            for name, value in backward(run, step, player, weighted).items():
                part = value / parts if parts > 1 else value
                values[name] = part + values[name] if name in values else part
    finally:
        for weight in frozen:
            weight.requires_grad_(True)
    if run.ranks.size > 1:
        average_over_ranks(run, player, values)
    if has_log_row(run, run.iteration + 1):
        record_gradient_norm(run, player)
    run.after_backward(run, step, player)
    apply_gradients(run, player)
    run.step_counts[player] += 1
    # A lazy loss term is computed only in some steps. In all other steps, keep its last value.
    run.values[player] = run.values[player] | values
    run.after_step[player](run, step)


def due_terms(run: TrainingRun, player: Player, parts: int) -> list[LossTerm]:
    """Return the loss terms of a player's next step. The weight of each returned term is a number.

    It is the current value of the term's schedule, divided by `parts`, the number of micro-batches for gradient
    accumulation. It is also multiplied by `every`, because a lazy term (`every` above 1) is computed only once in
    `every` steps.
    """
    return [
        replace(term, weight=value_at(term.weight, run) * term.every / parts)
        for term in run.terms[player]
        if run.step_counts[player] % term.every == 0
    ]


def with_factors(run: TrainingRun, player: Player, terms: list[LossTerm]) -> list[LossTerm]:
    """Return the terms with their weights multiplied by the factors from the `loss_weights` hooks.

    Raises:
        PluginError: a plugin returns a factor for a term that the player does not have.
    """
    for call in run.loss_weights:
        factors = call(run, player) or {}
        names = [term.name for term in run.terms[player]]
        if unknown := next((name for name in factors if name not in names), None):
            raise PluginError(
                f"`loss_weights` returns a factor for {unknown!r}; the {player}'s terms are {', '.join(names)}"
            )
        terms = [
            replace(t, weight=value_at(t.weight, run) * factors[t.name]) if t.name in factors else t for t in terms
        ]
    return terms


def draw_step(run: TrainingRun, player: Player) -> Step:
    """Return a `Step` with new real images, z and fake images. Fake images require gradients only in the G step."""
    with torch.set_grad_enabled(player == "generator"):
        own_step = run.draw_step(run, player) if run.draw_step is not None else None
        if own_step is not None:
            return own_step
        real, condition, fields = run.draw_real()
        z = run.draw_latent(len(real), condition)
        fake = run.generator(z, condition).float()
    return Step(run, player, real, condition, z, fake, fields=fields)


def backward(run: TrainingRun, step: Step, player: Player, terms: list[LossTerm]) -> dict[str, Tensor]:
    """Add the gradient of the weighted sum of the loss terms to the parameters' `.grad`.

    Return the unweighted value of each term, by its name.
    """
    if run.backward is not None:
        with run.autocast():
            own_values = run.backward(run, step, player, terms)
        if own_values is not None:
            return own_values
    with run.autocast():
        values = {term.name: value_of(term, step) for term in terms}
        # Skip the multiplication by a weight of 1, which would launch a kernel in the forward and the backward pass.
        # A comparison of a tensor with 1 would make the CPU wait for the GPU.
        weighted = [
            values[t.name]
            if not isinstance(t.weight, Tensor) and t.weight == 1
            else value_at(t.weight, run) * values[t.name]
            for t in terms
        ]
        loss = reduce(add, weighted) if weighted else None
    # PyTorch recommends running the backward pass outside of autocast. The backward pass uses the data types of the
    # forward pass.
    if loss is not None and loss.requires_grad:
        loss.backward()
    return {name: value.detach() for name, value in values.items()}


def value_of(term: LossTerm, step: Step) -> Tensor:
    """Return the value of a loss term. Raise PluginError if the value is not a scalar tensor."""
    value = term.function(step)
    if not isinstance(value, Tensor) or value.dim():
        returned = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
        raise PluginError(f"the {step.player}'s term {term.name!r} returns {returned}; it must return a scalar tensor")
    return value


def average_over_ranks(run: TrainingRun, player: Player, values: dict[str, Tensor]) -> None:
    """Average gradients, values of loss terms and running statistics over all ranks, in place.

    Afterwards these values are equal on all ranks, so the updates and the decisions of plugins are equal too.
    """
    parameters = run.parameters[player]
    # Some plugins train one network per class. A rank without images of a class has no gradient for the network of
    # this class, so the rank sends zeros.
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    has_gradient = [float(p.grad is not None) for p in parameters]
    # torch.ones creates values on the device. Copying Python numbers to the device would make the CPU wait.
    if all(has_gradient):
        share = torch.ones(len(has_gradient), device=run.device)
    else:
        share = torch.tensor(has_gradient, device=run.device)
    # Average all tensors in one all-reduce, because the duration of an all-reduce hardly depends on the data size.
    run.ranks.mean_([*gradients, share, *values.values(), *network_statistics(run)])
    for index, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        # If no rank has a gradient for the parameter, keep `.grad` None, so that the optimiser skips the parameter.
        if parameter.grad is None and share[index] > 0:
            parameter.grad = gradient


def network_statistics(run: TrainingRun) -> list[Tensor]:
    """Return the floating-point buffers of all trained networks, such as the running statistics of batch norm."""
    return [
        state
        for name in run.trained_networks
        for state in run.networks[name].state_dict(keep_vars=True).values()
        if not isinstance(state, nn.Parameter) and state.is_floating_point()
    ]


def record_gradient_norm(run: TrainingRun, player: Player) -> None:
    """Store the Euclidean norm of the gradient of all of the player's parameters together, as a scalar tensor.

    It is the norm before gradient clipping. Parameters without a gradient, such as frozen parameters, do not count.
    The norm stays on the device, so this call does not make the CPU wait for the GPU.
    """
    gradients = [p.grad for p in run.parameters[player] if p.grad is not None]
    if gradients:
        run.gradient_norms[player] = get_total_norm(gradients)


def apply_gradients(run: TrainingRun, player: Player) -> None:
    """Run the player's optimiser step with the scheduled learning rate, and clear the gradients."""
    optimizer, factor = run.optimizers[player], run.rate_factor(player)
    for group, rate in zip(optimizer.param_groups, run.base_rates[player], strict=True):
        group["lr"] = rate * factor
    optimizer.step()
    optimizer.zero_grad()
