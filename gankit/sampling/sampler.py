"""From a generator file to images. The file is all that is needed: no dataset, no run directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.images.grid import to_image, to_bytes
from gankit.images.io import save_png
from gankit.plugin.build import build_network, build_plugins
from gankit.plugin.hooks import Hooks
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import RecipeParser
from gankit.runtime.device import choose_device
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.sampling.generator_file import SampledRun, read_generator_file, refuse_untrusted, untrusted_uses
from gankit.storage.atomic_io import disk_errors

CHUNK = 64
"""Images made at once."""

REDRAWS = 10_000
"""Draws within which a truncated z must be complete; a normal prior cut at 0.01 takes about 1,000."""


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
        self.spherical = hooks.of("sample_latent")[0].plugin.spherical_prior
        """The prior's z lie near a sphere, and so does the way from one to another."""
        self._changes = hooks.calls("sampling_latent")
        self.draw_samples = hooks.sole("draw_samples")
        """A plugin's picture of samples (N, C, R, R), where a grid of them would not show what they are."""

    @classmethod
    def of_run(cls, run: SampledRun) -> Sampler:
        """Return a sampler of the generator of a run."""
        return cls(run.sampled_generator(), run.hooks, run.spec, run.device)

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
        reader = RecipeParser(card["recipe"], path, registry or Registry.installed(), card["plugins"])
        if not trust:
            refuse_untrusted(path, untrusted_uses(card))
        parts = reader.components_at(needed)
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
        with eval_mode(self.generator), fork_rng(self.device):
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


def save_images(images: Iterator[Tensor], labels: Tensor | None, names: tuple[str, ...], folder: Path) -> int:
    """Writes images as numbered PNG files, with the class in the name. Returns how many."""
    # Names come from the file, which may be a stranger's: no '/' leads out of the folder.
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in names]
    number = 0
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for chunk in images:
        for image in chunk:
            suffix = f"_{safe[int(labels[number])]}" if labels is not None else ""
            save_png(to_image(image), folder / f"{number:06d}{suffix}.png")
            number += 1
    return number
