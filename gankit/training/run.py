"""Assembly: from a recipe to networks, optimisers, data and plain callables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.data.batches import BatchSource, place
from gankit.errors import InputError, PluginError, Problem, RecipeError
from gankit.images.grid import to_float
from gankit.plugin.build import build_network, build_plugins, refusing
from gankit.plugin.dataset import Dataset, loaded_once
from gankit.plugin.extractor import Extractor
from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.spec import Spec
from gankit.plugin.step import Source, Term
from gankit.recipe.recipe import Recipe
from gankit.runtime.device import choose_device, computes_in_bf16
from gankit.runtime.ranks import ALONE, Ranks
from gankit.runtime.rng import derived_seed, evaluating, own_randomness, seed_all, training_seed
from gankit.runtime.sync_batch_norm import share_statistics
from gankit.training.assembly import advice_on_ranks, take_advice

Turns = Sequence[Player]


class Game:
    """Everything that one run is played with. Plugins know it as `run`.

    Args:
        recipe: what to assemble.
        device: in place of the recipe's `train.device`.
        ranks: the processes that play it together.

    Raises:
        RecipeError: plugins refuse the recipe, or what they build does not fit together.
        InputError: the data cannot be used.
    """

    def __init__(self, recipe: Recipe, device: str | None = None, ranks: Ranks = ALONE) -> None:
        self.recipe = recipe
        self.ranks = ranks
        """The processes that play this game together, each with a part of every batch; one, as a rule."""

        self.device = choose_device(ranks.device(device or recipe.train.device))
        self.bf16 = recipe.train.precision == "bf16" or (
            recipe.train.precision == "auto" and computes_in_bf16(self.device)
        )
        """Whether matrix products are in bfloat16."""

        self.directory: Path | None = None
        """The run directory; None when nothing is written, in a `Session` for instance."""

        self.iteration = 0
        """Iterations played."""

        self.turn_counts: dict[Player, int] = dict.fromkeys(PLAYERS, 0)
        """Turns played by each player."""

        self.values: dict[Player, dict[str, Tensor]] = {player: {} for player in PLAYERS}
        """Each term's value in the player's last turn, on the device; unweighted."""

        self.stop_reason: str | None = None
        """Why a plugin has ended the run."""

        self.failure: str | None = None
        """What broke the run off."""

        self.said: list[str] = []
        """What plugins have to say to the user and has not been shown yet."""

        self.batches: BatchSource | None = None
        self.plugins, self.hooks = build_plugins(recipe.parts, recipe.source)
        self.advice = [*take_advice(recipe, self.hooks), *advice_on_ranks(recipe, ranks.size)]
        self.dataset, self.spec = self._describe()
        self.networks: dict[Player, nn.Module] = {player: self._build_network(player) for player in PLAYERS}
        self.generator, self.discriminator = self.networks["generator"], self.networks["discriminator"]
        self.parameters: dict[Player, list[nn.Parameter]] = {
            player: [p for p in self.networks[player].parameters() if p.requires_grad] for player in PLAYERS
        }
        self.optimizers: dict[Player, torch.optim.Optimizer] = {
            player: self._ask("build_optimizer", player, self.parameters[player], player=player) for player in PLAYERS
        }
        self.base_rates = {p: [group["lr"] for group in self.optimizers[p].param_groups] for p in PLAYERS}
        self.terms = self._collect_terms()
        self.schedules = {player: self._collect_schedules(player) for player in PLAYERS}
        self._resolve()
        self._rehearse()
        seed_all(training_seed(recipe.seed, ranks.rank))

    def stop(self, reason: str) -> None:
        """Ends the run after this iteration; the reason is shown to the user."""
        self.stop_reason = reason

    def advise(self, sentence: str) -> None:
        """Says something about the run to the user while it goes on; it is kept in log.jsonl too."""
        self.said.append(sentence)

    def load_data(self) -> None:
        """Reads the images and places them where batches are drawn from."""
        images, labels = self.dataset.load()
        train = self.recipe.train
        self.batches = place(
            images,
            labels,
            self.device,
            train.batch_size // train.accumulate,
            self.spec.classes if self.spec.class_balanced else 0,
            derived_seed(self.recipe.seed, "data"),
            ranks=self.ranks,
        )

    def build_extractor(self) -> Extractor:
        """What the recipe's measures see images through.

        Raises RecipeError when what it needs is not there.
        """
        return self._ask("build_extractor", self.dataset, self.device)

    def start(self) -> None:
        """Tells every plugin that the first iteration, or the first after a resume, is about to begin."""
        # What a plugin draws to get ready must not shift what the run draws: a resumed one gets ready twice.
        with own_randomness(self.device, derived_seed(self.recipe.seed, "start")):
            self.hooks.event("on_start")(self)

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """The next real images, (B, C, R, R) in [-1, 1], and their labels, on the device."""
        assert self.batches is not None, "load_data comes first"
        images, labels = self.batches.next()
        return self._onto_device(images, labels)

    def draw_reference(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Real images that are always the same for a seed, (count, C, R, R) in [-1, 1], and their labels.

        The order of the batches is left alone. Raises InputError when batches are class-balanced and `count` is no
        multiple of the number of classes.
        """
        assert self.batches is not None, "load_data comes first"
        classes = self.spec.classes if self.spec.class_balanced else 0
        if classes and count % classes:
            raise InputError(
                f"{count} reference images cannot be shared evenly among {classes} classes; take a multiple"
            )
        seed = derived_seed(self.recipe.seed, "reference")
        return self._onto_device(*self.batches.reference(count, classes, seed))

    def _onto_device(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        images = images.to(self.device, non_blocking=True)
        images = images if images.is_floating_point() else to_float(images)
        if self.recipe.train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, None if labels is None else labels.to(self.device, non_blocking=True)

    def draw_latent(self, count: int, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """z from the prior, (count, latent_size), on the device."""
        return self.sample_latent(count, labels, self.device, generator)

    def learning_rate(self, player: Player) -> float:
        """The rate of the player's first parameter group at the current iteration."""
        return self.base_rates[player][0] * self.rate_factor(player)

    def rate_factor(self, player: Player) -> float:
        factor = 1.0
        for schedule in self.schedules[player]:
            factor *= schedule(self.iteration)
        return factor

    def discriminator_inputs(
        self, images: Tensor, labels: Tensor | None, source: Source, player: Player
    ) -> tuple[Tensor, Tensor | None]:
        """Images and labels on their way to D, through every plugin that has a hand in them."""
        for change in self._input_changes:
            images, labels = change(images, labels, source, player, self)
        return images, labels

    def _describe(self) -> tuple[Dataset, Spec]:
        spec = Spec(normalize=self._normalize)
        dataset: Dataset = self._ask("load_data", spec)
        if "extractor" in self.recipe.parts:
            # Measures look at the images too. Where there are none, the images need not stay in memory.
            dataset = loaded_once(dataset)
        spec.channels, spec.resolution = dataset.channels, dataset.resolution
        spec.class_names, spec.classes = dataset.class_names, len(dataset.class_names)
        spec.class_balanced = self.recipe.train.class_balanced
        self._tell("adjust_spec", spec)
        size = self.recipe.train.batch_size // self.recipe.train.accumulate
        if spec.class_balanced and not spec.classes:
            raise self._refusal("train.class_balanced", "batches cannot be balanced: the images have no classes")
        if spec.class_balanced and size % spec.classes:
            lower = size // spec.classes * spec.classes * self.recipe.train.accumulate
            upper = lower + spec.classes * self.recipe.train.accumulate
            allowed = " or ".join(str(n) for n in (lower, upper) if n)
            raise self._refusal(
                "train.batch_size",
                f"{self.recipe.train.batch_size} given; with {spec.classes} classes in every batch alike it must be "
                f"a multiple of {spec.classes * self.recipe.train.accumulate}: {allowed}, for instance",
            )
        self._check_slices(spec)
        return dataset, spec

    def _check_slices(self, spec: Spec) -> None:
        """Raises RecipeError when a batch cannot be shared evenly among the ranks."""
        train, ranks = self.recipe.train, self.ranks.size
        whole = train.accumulate * spec.pack * (spec.classes if spec.class_balanced else 1) * ranks
        if ranks > 1 and train.batch_size % whole:
            lower = train.batch_size // whole * whole
            allowed = " or ".join(str(n) for n in (lower, lower + whole) if n)
            raise self._refusal(
                "train.batch_size",
                f"{train.batch_size} given; {ranks} ranks share each batch evenly, so it must be a multiple of "
                f"{whole}: {allowed}, for instance",
            )

    def _build_network(self, player: Player) -> nn.Module:
        seed_all(derived_seed(self.recipe.seed, player))
        network = build_network(self.hooks, player, self.spec, self, self.recipe.source)
        if self.recipe.train.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.recipe.train.sync_batch_norm and self.ranks.size > 1:
            network = share_statistics(network, self.ranks.size)
        return network.to(self.device).train()

    def _rehearse(self) -> None:
        """Shows the networks to each other once, in evaluation mode, so that what does not fit is known now."""
        spec = self.spec
        count = max(2, spec.classes)
        labels = torch.arange(count, device=self.device) if spec.classes else None
        with torch.no_grad(), own_randomness(self.device), evaluating(self.generator), evaluating(self.discriminator):
            z = self.draw_latent(count, labels)
            images = self._fitting("generator", lambda: self.generator(z, labels), f"z of shape {tuple(z.shape)}")
            wanted = (count, self.dataset.channels, spec.resolution, spec.resolution)
            if not isinstance(images, Tensor) or images.shape != wanted:
                raise self._refusal("generator", f"returns {_shape(images)}; images of shape {wanted} are wanted")
            shown = images.float().repeat(1, spec.pack, 1, 1)
            given = f"images of shape {tuple(shown.shape)}"
            output = self._fitting("discriminator", lambda: self.discriminator(shown, labels), given)
            fits = isinstance(output, tuple) and len(output) == 2 and output[0].shape == (count,)
            if not fits:
                raise self._refusal(
                    "discriminator",
                    f"returns {_shape(output)}; logits of shape {(count,)} and the features before them are wanted",
                )

    def _fitting(self, player: Player, call: Callable[[], Any], given: str) -> Any:
        try:
            return call()
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            raise self._refusal(player, f"does not take {given}: {' '.join(str(error).split())[:200]}") from error

    def _normalize(self, player: Player, layer: nn.Module, features: int) -> nn.Module:
        return self.hooks.one("normalization", player, layer, features, player=player)

    def _collect_terms(self) -> dict[Player, list[Term]]:
        loss = self._loss()
        collected: dict[Player, list[Term]] = {}
        for player in PLAYERS:
            named: dict[str, Term] = {}
            for implementation in self.hooks.of("loss_terms", player):
                is_loss = implementation.key == "loss"
                for term in loss[player] if is_loss else implementation.call(player, self) or ():
                    # The same penalty may stand in a recipe twice; its second name is its place, numbered if need be.
                    others = (f"{implementation.key}.{term.name}{number}" for number in ("", *range(2, len(named) + 2)))
                    name = next(n for n in (term.name, *others) if n not in named)
                    named[name] = Term(name, term.function, term.weight, term.every)
            if not named:
                raise self._refusal("loss", f"no plugin of the recipe gives the {player} anything to learn from")
            collected[player] = list(named.values())
        return collected

    def _collect_schedules(self, player: Player) -> list[Callable[[int], float]]:
        schedules = []
        for implementation in self.hooks.of("lr_schedule", player):
            schedule = implementation.call(player, self)
            if schedule is not None and not callable(schedule):
                raise self._refusal(
                    implementation.key, f"lr_schedule returns {schedule!r}; a function of the iteration is wanted"
                )
            schedules += [] if schedule is None else [schedule]
        return schedules

    def _loss(self) -> dict[Player, list[Term]]:
        """The terms of the plugin in the slot `loss`, through every plugin that wraps them."""
        terms: dict[Player, list[Term]] = {player: [] for player in PLAYERS}
        for implementation in self.hooks.of("loss_terms"):
            if implementation.key == "loss":
                terms = {player: list(implementation.call(player, self) or ()) for player in PLAYERS}
        for implementation in self.hooks.of("wrap_loss"):
            wrapped = implementation.call(terms, self)
            terms = terms if wrapped is None else wrapped
        return terms

    def _resolve(self) -> None:
        """Every hook point of the loop, to a plain callable."""
        hooks = self.hooks
        self._input_changes = hooks.calls("discriminator_inputs")
        self.before_step = {
            "discriminator": hooks.event("before_d_step"),
            "generator": hooks.event("before_g_step"),
        }
        self.after_step = {
            "discriminator": hooks.event("after_d_step"),
            "generator": hooks.event("after_g_step"),
        }
        self.evaluate = hooks.calls("evaluate")
        # Nobody sees images where the slot is empty, as it is in a recipe without [measures].
        measures = hooks.of("measure") if "extractor" in self.recipe.parts else []
        self.measures = {implementation.key: implementation.call for implementation in measures}
        self.after_backward = hooks.event("after_backward")
        self.after_iteration = hooks.event("after_iteration")
        self.on_log = hooks.event("on_log")
        self.on_grid = hooks.event("on_grid")
        try:
            self.backward = hooks.sole("backward")
            self.turns = hooks.sole("turns")
            sample_latent = hooks.sole("sample_latent")
            self.sampling_generator = hooks.sole("sampling_generator")
            hooks.sole("draw_samples")
        except PluginError as error:
            raise RecipeError(self.recipe.source, [Problem("recipe", str(error))]) from error
        if sample_latent is None:
            raise self._refusal("latent", f"{self.recipe.use_of('latent')!r} draws no z: it has no sample_latent")
        self.sample_latent: Callable[..., Tensor] = sample_latent

    def _ask(self, hook: str, *arguments: Any, player: Player | None = None) -> Any:
        key = {
            "load_data": "data",
            "build_optimizer": f"optimizer.{player}",
            "build_extractor": "extractor",
        }[hook]
        with refusing(self.recipe.source, key):
            return self.hooks.one(hook, *arguments, player=player)

    def _tell(self, hook: str, *arguments: Any) -> None:
        for implementation in self.hooks.of(hook):
            with refusing(self.recipe.source, implementation.key):
                implementation.call(*arguments)

    def _refusal(self, key: str, message: str) -> RecipeError:
        return RecipeError(self.recipe.source, [Problem(key, message)])


def _shape(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shape(v) for v in value)})"
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
