"""From a generator file to images. The file is all that is needed: no dataset, no run directory."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import gankit
from gankit.aside import evaluating, own_randomness
from gankit.errors import InputError
from gankit.files import disk_errors, tensors_to_bytes, write_bytes
from gankit.game import Game, build_network, build_plugins, choose_device, derived_seed
from gankit.hooks import Hooks
from gankit.interpolation import rows_of_paths
from gankit.picture_files import save_png
from gankit.pictures import grid, picture, to_bytes
from gankit.recipe import Reader
from gankit.registry import Registry
from gankit.run_dir import plugin_record
from gankit.spec import Spec

FORMAT = 1
CHUNK = 64
"""Images made at once."""

REDRAWS = 10_000
"""Draws within which a truncated z must be complete; a normal prior cut at 0.01 takes about 1,000."""

Names = tuple[str, ...]

SHAPING_HOOKS = ("build_generator", "wrap_network", "sample_latent", "sampling_latent", "draw_samples")
"""A plugin with one of these has a hand in what a saved generator is, and is needed to sample from it."""


def sampled_generator(game: Game) -> nn.Module:
    """The generator that samples are drawn from: a plugin's, the moving average for instance, or the trained one."""
    chosen = game.sampling_generator(game) if game.sampling_generator is not None else None
    return game.generator if chosen is None else chosen


def drawn_from(game: Game) -> str:
    """Which generator `sampled_generator` gives: the newest, or the name of the plugin that gives another."""
    if sampled_generator(game) is game.generator:
        return "newest"
    return game.hooks.of("sampling_generator")[0].plugin.name


def save_generator(game: Game, path: Path) -> None:
    """The generator to sample from, with all that it takes to rebuild it in the file's metadata.

    Raises GankitError when the disk is full.
    """
    generator = sampled_generator(game)
    shaping = {i.key for hook in SHAPING_HOOKS for i in game.hooks.of(hook)} | {"normalization.generator"}
    spec = {k: v for k, v in vars(game.spec).items() if k != "normalize"}
    card = {
        "format": FORMAT,
        "gankit": gankit.__version__,
        "torch": torch.__version__,
        "iteration": game.iteration,
        "generator": drawn_from(game),
        "device": game.device.type,
        "spec": spec,
        "recipe": game.recipe.to_dict(),
        "plugins": plugin_record(game.recipe),
        "needed": [key for key in game.recipe.parts if key in shaping and key != "discriminator"],
    }
    write_bytes(path, tensors_to_bytes(generator.state_dict(), card))


class Sampler:
    """A generator and its prior, rebuilt from a file or taken from a running game.

    Args:
        generator: G(z, labels).
        hooks: of the plugins that shape it.
        spec: what it was built from.
        device: where it lies.
    """

    def __init__(self, generator: nn.Module, hooks: Hooks, spec: Spec, device: torch.device) -> None:
        self.generator = generator
        self.spec = spec
        self.device = device
        self.card: dict[str, Any] = {}
        """What a file says of how it came about; empty for a game's generator."""

        self.class_names = spec.class_names if spec.conditional else ()
        """The classes that can be asked for: none, when the generator was trained on classes but never told them."""
        sample_latent = hooks.sole("sample_latent")
        assert sample_latent is not None, "save_generator notes the prior among the plugins needed"
        self._sample_latent = sample_latent
        self.spherical = hooks.of("sample_latent")[0].plugin.spherical
        """The prior's z lie near a sphere, and so does the way from one to another."""
        self._changes = hooks.calls("sampling_latent")
        self.draw_samples = hooks.sole("draw_samples")
        """A plugin's picture of samples (N, C, R, R), where a grid of them would not show what they are."""

    @classmethod
    def load(
        cls, path: str | Path, device: str = "auto", trust: bool = False, registry: Registry | None = None
    ) -> Sampler:
        """Rebuilds the generator in a file.

        Args:
            path: a `generator.safetensors`.
            device: where to.
            trust: import classes that the file names by module or by path. Without it, only plugins that are
                installed under a name are used, so that a stranger's file runs no code of its choosing.
            registry: what is installed, when it is not to be looked up.

        Raises:
            InputError: the file is missing, truncated, not a generator, or needs what is not there.
        """
        path = Path(path)
        card, tensors = read_generator_file(path)
        needed = card["needed"]
        reader = Reader(card["recipe"], path, registry or Registry.installed(), card["plugins"])
        if not trust:
            refuse_strange(path, strange_uses(card))
        parts = reader.parts_at(needed)
        _, hooks = build_plugins(parts, str(path))
        try:
            spec = Spec(**card["spec"] | {"class_names": tuple(card["spec"]["class_names"])})
        except (TypeError, KeyError):
            raise InputError(f"{path} is no generator that this version of gankit can read") from None
        spec.normalize = lambda player, layer, features: hooks.one(
            "normalization", player, layer, features, player=player
        )
        generator = build_network(hooks, "generator", spec, None, str(path))
        try:
            generator.load_state_dict(tensors)
        except RuntimeError as error:
            records = [(key, card["plugins"].get(key, {})) for key in needed]
            began = ", ".join(
                f"{key} {r.get('distribution', '')} {r.get('version', '')}".rstrip() for key, r in records
            )
            raise InputError(
                f"{path} was made with {began}, and does not fit the plugins installed now: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        chosen = choose_device(device)
        sampler = cls(generator.to(chosen).eval(), hooks, spec, chosen)
        sampler.card = card
        return sampler

    def class_index(self, wanted: str) -> int:
        """A class by name or by number.

        Raises InputError when there is none.
        """
        names = self.class_names
        if wanted in names:
            return names.index(wanted)
        if wanted.isdecimal() and int(wanted) < len(names):
            return int(wanted)
        if not names:
            raise InputError(f"class {wanted!r}: this generator cannot be asked for a class")
        raise InputError(f"class {wanted!r}: there are {', '.join(names)}")

    def labels(self, count: int, wanted: int | None = None) -> Tensor | None:
        """(count,) labels: of one class, or of all in turn; None when no class can be asked for."""
        if not self.class_names:
            return None
        if wanted is not None:
            return torch.full((count,), wanted)
        return torch.arange(count) % len(self.class_names)

    def latent(self, count: int, labels: Tensor | None, seed: int, truncation: float | None = None) -> Tensor:
        """(count, latent_size) on the CPU: the same for a seed wherever the generator lies.

        Args:
            count, labels: of the images.
            seed: of the randomness.
            truncation: entries beyond it in absolute value are drawn again (Brock 2018, section 3.1).

        Raises:
            InputError: the prior has next to nothing within the truncation.
        """
        randomness = torch.Generator().manual_seed(seed)
        cpu = torch.device("cpu")

        def redraw() -> Tensor:
            return self._sample_latent(count, labels, cpu, randomness)

        z = redraw()
        for change in self._changes:
            z = change(z, redraw)
        return z if truncation is None else truncated(z, redraw, truncation)

    def images(self, z: Tensor, labels: Tensor | None) -> Iterator[Tensor]:
        """(N, C, R, R) uint8 on the CPU, in chunks, for (N, latent_size) and (N,) or None."""
        yield from (to_bytes(chunk) for chunk in self.outputs(z, labels))

    @torch.no_grad()
    def outputs(self, z: Tensor, labels: Tensor | None) -> Iterator[Tensor]:
        """What G draws, (N, C, R, R) float in [-1, 1] on the CPU, in chunks.

        The generator is in evaluation mode meanwhile, and torch's random state is as before afterwards.
        """
        with evaluating(self.generator), own_randomness(self.device):
            for start in range(0, len(z), CHUNK):
                chunk = slice(start, start + CHUNK)
                some = None if labels is None else labels[chunk].to(self.device)
                yield self.generator(z[chunk].to(self.device), some).float().cpu()

    def sample(
        self, count: int, seed: int = 0, wanted: int | None = None, truncation: float | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`count` images, (count, C, R, R) uint8, and their labels."""
        labels = self.labels(count, wanted)
        return torch.cat(list(self.images(self.latent(count, labels, seed, truncation), labels))), labels


def truncated(z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor:
    """z with every entry beyond the threshold in absolute value drawn again until it is not (Brock 2018, section 3.1).

    Args:
        z: of any shape.
        redraw: another z of the same shape, from the prior.
        threshold: above 0.

    Raises:
        InputError: the prior has next to nothing within the threshold.
    """
    for _ in range(REDRAWS):
        far = z.abs() > threshold
        if not far.any():
            return z
        z = torch.where(far, redraw(), z)
    raise InputError(f"truncation {threshold}: the prior hardly ever draws anything as small; give a larger one")


def grid_layout(sampler: Sampler, count: int, wanted: int | None = None) -> tuple[int, int, Tensor | None, Names]:
    """How a grid of about `count` images is filled: how many, columns, labels, and the names of its rows.

    A row for each class that can be asked for, of as many images as `count` has for each, but one at least; else, or
    for one wanted class, a square.
    """
    classes = len(sampler.class_names)
    if not classes or wanted is not None:
        return count, max(1, round(count**0.5)), sampler.labels(count, wanted), ()
    columns = max(1, count // classes)
    labels = torch.arange(classes).repeat_interleave(columns)
    return columns * classes, columns, labels, sampler.class_names


def along_rows(sampler: Sampler, z: Tensor, labels: Tensor | None, columns: int) -> tuple[Tensor, Tensor | None]:
    """z and labels of a grid whose rows lead, each in its class, from their first z to their last.

    Of a last row that is not full nothing is left.

    Raises InputError when there is nothing between the ends.
    """
    if columns < 3:
        raise InputError(
            f"--interpolate: rows of {columns} have nothing between their ends; a larger --count makes them longer"
        )
    whole = len(z) - len(z) % columns
    return rows_of_paths(z[:whole], columns, sampler.spherical), None if labels is None else labels[:whole]


def sweep(
    sampler: Sampler, count: int, thresholds: Sequence[float], seed: int, wanted: int | None = None
) -> tuple[Tensor, Tensor | None, int, Names]:
    """z, labels, columns and names of the rows of a grid with a row for each truncation.

    In a column stands one z throughout, but for those of its numbers that a threshold has drawn again.
    """
    columns = max(1, count // len(thresholds))
    labels = sampler.labels(columns, wanted)
    z = torch.cat([sampler.latent(columns, labels, seed, t) for t in thresholds])
    names = tuple("whole prior" if math.isinf(t) else f"truncation {t:g}" for t in thresholds)
    return z, None if labels is None else labels.repeat(len(thresholds)), columns, names


def draw_grid(sampler: Sampler, z: Tensor, labels: Tensor | None, columns: int, row_names: Names) -> Image.Image:
    """The samples as one picture: a plugin's own, or a grid."""
    images = torch.cat(list(sampler.outputs(z, labels)))
    drawn = sampler.draw_samples(images) if sampler.draw_samples is not None else None
    return grid(to_bytes(images), columns, row_names) if drawn is None else drawn


class GridSampler:
    """The same z, drawn as a grid again and again while the generator learns: a row for each class."""

    def __init__(self, game: Game) -> None:
        self.game = game
        sampler = self._sampler()
        count, self.columns, self.labels, self.row_names = grid_layout(sampler, game.recipe.output.sample_count)
        self.z = sampler.latent(count, self.labels, derived_seed(game.recipe.seed, "samples"))
        asked = (self.z.tolist(), None if self.labels is None else self.labels.tolist(), self.columns)
        self.digest = hashlib.sha256(repr(asked).encode()).hexdigest()
        """Equal for grids that show the same z, of the same classes, in the same places."""

    def draw(self) -> Image.Image:
        return draw_grid(self._sampler(), self.z, self.labels, self.columns, self.row_names)

    def _sampler(self) -> Sampler:
        game = self.game
        return Sampler(sampled_generator(game), game.hooks, game.spec, game.device)


def strange_uses(card: dict[str, Any]) -> list[str]:
    """What a generator's card names by module or by path, rather than as a plugin that is installed under a name.

    Asked of the recipe, which is what will be followed, and not of what the file says of itself elsewhere.
    """
    reader = Reader(card["recipe"], "generator", Registry([]))
    return [use for use in reader.uses_at(card["needed"]) if ":" in use]


def refuse_strange(path: Path, uses: Iterable[str]) -> None:
    """Raises InputError when a file wants to import by module or by path, which only the user may allow."""
    if strange := sorted({use for use in uses if ":" in use}):
        raise InputError(f"{path} wants to import {', '.join(strange)}; if you trust it, say --trust")


def read_generator_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the tensors of a generator file.

    Raises InputError when it is missing, truncated, or something else.
    """
    if not path.is_file():
        raise InputError(f"there is no generator file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["gankit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (KeyError, ValueError):
        raise InputError(f"{path} is no generator of gankit's: its metadata does not say how to rebuild it") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read; it may be truncated ({error})") from error
    tables = {"recipe": dict, "spec": dict, "plugins": dict, "needed": list}
    if (
        not isinstance(card, dict)
        or card.get("format") != FORMAT
        or not all(isinstance(card.get(name), kind) for name, kind in tables.items())
    ):
        raise InputError(f"{path} is no generator that this version of gankit can read")
    return card, tensors


def save_folder(images: Iterator[Tensor], labels: Tensor | None, names: tuple[str, ...], folder: Path) -> int:
    """Writes images as numbered PNG files, with the class in the name. Returns how many."""
    # Names come from the file, which may be a stranger's: no '/' leads out of the folder.
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in names]
    number = 0
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for chunk in images:
        for image in chunk:
            suffix = f"_{safe[int(labels[number])]}" if labels is not None else ""
            save_png(picture(image), folder / f"{number:06d}{suffix}.png")
            number += 1
    return number
