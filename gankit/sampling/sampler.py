"""Sampling of images from a generator. Sampling from a generator file needs no dataset and no run directory."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn

from gankit.errors import InputError, PluginError
from gankit.images.grid import as_input, to_bytes, to_image
from gankit.images.io import save_png
from gankit.images.picture import as_pictures
from gankit.plugin.base import Plugin
from gankit.plugin.build import build_network, build_plugins, to_channels_last
from gankit.plugin.condition import (
    Condition,
    ImageCondition,
    Requested,
    Wanted,
    from_card,
    requested_by,
)
from gankit.plugin.hook_values import describe
from gankit.plugin.hooks import Hooks
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import RecipeParser
from gankit.recipe.toml import merge, overrides_from_here
from gankit.runtime.device import choose_device
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.directions import Directions, MovedGenerator
from gankit.sampling.ensemble import Ensemble
from gankit.sampling.generator_file import (
    SampledRun,
    generator_file,
    read_generator_file,
    refuse_untrusted,
    untrusted_uses,
)
from gankit.sampling.pruning import resize
from gankit.storage.atomic_io import disk_errors, whole_file

CHUNK = 64
"""Maximum number of images that one call of the generator generates."""

LONGEST_NAME = 150
"""Maximum length in bytes of the class name or text in a file name. File systems allow file names of 255 bytes."""

REDRAWS = 10_000
"""Maximum number of redraws of z for truncation. With a normal prior and threshold 0.01, about 1,000 are needed."""


class RangedSetting(NamedTuple):
    """Number in the settings of a plugin that changes samples: its value, and the range of useful values."""

    value: float
    low: float
    high: float
    description: str


class Sampler:
    """Sampler of images: a generator, and the prior from which z is drawn.

    Args:
        generator: network, called as G(z, condition).
        hooks: hooks of the plugins that sampling needs.
        spec: image size, latent size and other properties for which the network was built.
        device: device on which the generator runs.
        examples: conditions of some real images, (n, ...), used if the user requests no condition. None for a
            class-conditional or unconditional generator.
    """

    def __init__(
        self, generator: nn.Module, hooks: Hooks, spec: Spec, device: torch.device, examples: Tensor | None = None
    ) -> None:
        self.generator = generator
        self.spec = spec
        self.device = device
        self.card: dict[str, Any] = {}
        """Metadata of the generator file. The dictionary is empty if the generator belongs to a run."""

        self.settings: dict[str, RangedSetting] = {}
        """Settings that plugins list in `sampling_ranges`, by key, such as `generator.psi`.

        The dictionary is empty if the generator belongs to a run.
        """

        self.condition = spec.condition if spec.conditional else None
        """Description of the generator's condition, or None for an unconditional generator."""

        self._examples = examples
        self._sampling_conditions = hooks.sole("sampling_conditions")
        sample_latent = hooks.sole("sample_latent")
        assert sample_latent is not None, "the prior is among the plugins that the generator file names as needed"
        self._sample_latent = sample_latent
        prior = hooks.of("sample_latent")[0].plugin
        self._prior_name, self.spherical_prior = prior.name, prior.spherical_prior
        """True if the vectors of the prior lie near a sphere. Interpolation must then be spherical."""
        conditioned = [*hooks.of("build_generator"), *hooks.of("normalization")]
        self.mixes_classes = any(i.plugin.mixes_classes for i in conditioned if i.key != "normalization.discriminator")
        """True if the generator also accepts class weights (N, K) in place of labels (N,)."""

        self._truncate_latent = hooks.sole("truncate_latent")
        self._changes = hooks.calls("sampling_latent")
        draw_samples, save_samples = hooks.sole("draw_samples"), hooks.sole("save_samples")
        self.draw_samples: Callable[[Tensor, Tensor | None, int, Sequence[str]], Image | None] | None = (
            None if draw_samples is None else lambda *arguments: draw_samples(*arguments, spec)
        )
        """Function that draws a picture of samples, or None if no plugin provides one.

        Its arguments are those of the hook `draw_samples`, without `spec`.
        """

        self.draws_rows = all("columns" in implementation.arguments for implementation in hooks.of("draw_samples"))
        """True if pictures of samples have rows. False if a plugin draws all samples as one plot."""

        self.save_samples: Callable[[Tensor, Sequence[str], Path], Sequence[Path] | None] | None = (
            None if save_samples is None else lambda *arguments: save_samples(*arguments, spec)
        )
        """Function that writes samples to files that are not images, or None if no plugin provides one.

        Its arguments are those of the hook `save_samples`, without `spec`.
        """

        self._save_sample_file = hooks.sole("save_sample_file")
        self.file_suffixes = tuple(
            suffix for one in hooks.of("save_sample_file") for suffix in one.plugin.sample_suffixes
        )
        """Suffixes of the files that `save_file` writes. Empty if no plugin writes all samples to one file."""

    @property
    def saves_own_files(self) -> bool:
        """True if a plugin writes each sample to a file of its own type."""
        return self.save_samples is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the image classes. The tuple is empty if the condition is not a class."""
        return () if self.condition is None else self.condition.class_names

    @property
    def truncates(self) -> bool:
        """True if the prior supports truncation of z."""
        return self._truncate_latent is not None

    @classmethod
    def of_run(cls, run: SampledRun) -> Sampler:
        """Return a sampler for the generator of a run."""
        return cls(run.sampled_generator(), run.hooks, run.spec, run.device, run.condition_examples)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        trust: bool = False,
        registry: Registry | None = None,
        overrides: Iterable[str] = (),
    ) -> Sampler:
        """Load a generator from its file, and return a sampler for it.

        Args:
            path: path of the generator file, or of a run directory with such a file, or an address `hf://USER/NAME` of
                a repository on the Hugging Face Hub.
            device: device on which the generator runs.
            trust: True to import plugins that the file specifies by module or path. False to raise InputError for such
                a file, because the import could run unknown code.
            registry: plugins that the file may use. Default: the installed plugins.
            overrides: changed settings of plugins that sampling needs, such as `tricks.truncation.threshold=0.5`.

        Raises:
            InputError: the file cannot be read; a plugin that sampling needs is missing, incompatible or not trusted;
                or an override is not a setting of a plugin that sampling needs.
        """
        path, overrides = generator_file(Path(path)), tuple(overrides)
        card, tensors = read_generator_file(path)
        if "members" not in card:
            return cls._loaded(path, card, tensors, device, trust, registry, overrides)._placed()
        members = [
            cls._loaded(path, member, part(tensors, number), device, trust, registry, overrides)
            for number, member in enumerate(card["members"])
        ]
        sampler = members[0]
        sampler.generator = Ensemble([member.generator for member in members], card["weights"])
        sampler.card = card
        return sampler._placed()

    @classmethod
    def _loaded(
        cls,
        path: Path,
        card: dict[str, Any],
        tensors: dict[str, Tensor],
        device: str,
        trust: bool,
        registry: Registry | None,
        overrides: tuple[str, ...],
    ) -> Sampler:
        """Build the generator of a generator file on the CPU, with its weights."""
        sampler = cls._built(path, card, device, trust, registry, overrides)
        generator = sampler.generator
        if card.get("pruned"):
            resize(generator, tensors)
        try:
            generator.load_state_dict(tensors)
        except RuntimeError as error:
            if overrides:
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"{path}: its weights do not fit {', '.join(overrides)}: {reason}") from error
            records = [(key, card["plugins"].get(key, {})) for key in card["needed"]]
            plugins = ", ".join(
                f"{key} {r.get('distribution', '')} {r.get('version', '')}".rstrip() for key, r in records
            )
            raise InputError(
                f"{path} was made with {plugins}, and does not fit the plugins installed now: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        return sampler

    @classmethod
    def untrained(
        cls,
        path: Path,
        card: dict[str, Any],
        device: str = "auto",
        trust: bool = False,
        overrides: Iterable[str] = (),
    ) -> Sampler:
        """Build the generator of a generator file with changed settings and random weights.

        Args:
            path: path of the generator file, for error messages.
            card: metadata of the generator file.
            device, trust, overrides: the same as for `load`.

        Raises:
            InputError: as for `load`.
        """
        return cls._built(path, card, device, trust, None, tuple(overrides))._placed()

    @classmethod
    def _built(
        cls,
        path: Path,
        card: dict[str, Any],
        device: str,
        trust: bool,
        registry: Registry | None,
        overrides: tuple[str, ...],
    ) -> Sampler:
        """Build the generator of a generator file on the CPU, without its weights."""
        needed = card["needed"]
        for override in overrides:
            check_override(override.partition("=")[0], needed, path)
        raw = merge(card["recipe"], overrides_from_here(overrides))
        parser = RecipeParser(raw, path, registry or Registry.installed(), card["plugins"])
        if not trust:
            refuse_untrusted(path, untrusted_uses(card))
        built, hooks = build_plugins(parser.components_at(needed), str(path))
        try:
            fields, condition = card["spec"], from_card(card["spec"]["condition"])
            tuples = {name: tuple(fields[name]) for name in ("shape", "fields")}
            spec = Spec(**fields | tuples | {"condition": condition})
            examples = examples_of(condition, card["condition_examples"])
        except (TypeError, KeyError, ValueError, AttributeError):
            raise InputError(f"{path} is not a generator file that this version of gankit can read") from None
        spec.normalize = lambda player, layer, features: hooks.one(
            "normalization", player, layer, features, player=player
        )
        generator, _ = build_network(hooks, "generator", spec, None, str(path))
        sampler = cls(generator, hooks, spec, choose_device(device), examples)
        sampler.card = card
        sampler.settings = ranged_settings(built)
        return sampler

    def _placed(self) -> Sampler:
        """Move the generator to the sampler's device, in the memory format of the run. Return the sampler."""
        if self.card["recipe"].get("train", {}).get("channels_last"):
            # Use the memory format of the run, because random numbers inside G depend on the memory format.
            to_channels_last(self.generator)
        self.generator.to(self.device).eval()
        return self

    def conditions(
        self, count: int, requested: Requested = MappingProxyType({}), seed: int = 0, sources: Tensor | None = None
    ) -> Tensor | None:
        """Return the condition of `count` samples, or None for an unconditional generator.

        Args:
            count: number of samples.
            requested: condition that the user requests, such as `{"class": "cat"}` or `{"age": 30}`. If `requested` is
                empty, labels cycle through the classes, and other conditions are taken from real images.
            seed: random seed for plugins that draw conditions at random.
            sources: source images (n, C, H, W), for an image-to-image generator. If n is below `count`, the images are
                repeated.

        Raises:
            InputError: the generator does not accept the condition, or needs a condition that is not given.
        """
        if self.condition is None:
            if requested or sources is not None:
                name = next(iter(requested), "source images")
                value = f" {requested[name]!r}" if name in requested else ""
                raise InputError(f"{name}{value}: the generator is unconditional; leave it out")
            return None
        if sources is not None and not isinstance(self.condition, ImageCondition):
            raise InputError(f"source images: the generator takes {self.condition.describe()}, and no images")
        if sources is not None:
            if not len(sources) or self.condition.mistake(sources):
                raise InputError(f"the source images are {tuple(sources.shape)}; give {self.condition.describe()}")
            return self.condition.rows(count, requested, sources)
        own = self.conditions_of_plugin(count, requested, seed)
        return self.condition.rows(count, requested, self._examples) if own is None else own

    @torch.no_grad()
    def conditions_of_plugin(self, count: int, requested: Requested, seed: int) -> Tensor | None:
        """Return the conditions from a plugin's hook `sampling_conditions` as a CPU tensor.

        Return None if no plugin provides conditions for sampling.

        The arguments are the same as those of `conditions`. The random state is restored afterwards.
        """
        if self._sampling_conditions is None or self.condition is None:
            return None
        with fork_rng(self.device):
            generator = torch.Generator().manual_seed(seed)
            condition: Tensor | None = self._sampling_conditions(count, requested, generator, self.spec)
        if condition is None:
            return None
        condition = condition.detach().cpu()
        if len(condition) != count or self.condition.mistake(condition):
            raise PluginError(
                f"`sampling_conditions` returns {describe(condition)} for {count} samples; it must return rows of "
                f"{self.condition.describe()}"
            )
        return condition

    def latent(self, count: int, condition: Tensor | None, seed: int, truncation: float | None = None) -> Tensor:
        """Draw latent vectors (count, latent_size) on the CPU, so that they do not depend on the generator's device.

        `truncation` is the threshold for the prior's hook `truncate_latent`. If it is None, z is not truncated.

        Raises:
            InputError: `truncation` is given, but the prior does not support truncation.
        """
        randomness = torch.Generator().manual_seed(seed)
        cpu = torch.device("cpu")
        given = None if condition is None else as_input(condition)

        def redraw() -> Tensor:
            return self._sample_latent(count, given, cpu, randomness)

        def truncate(z: Tensor, threshold: float) -> Tensor:
            cut = None if self._truncate_latent is None else self._truncate_latent(z, redraw, threshold)
            if cut is None:
                raise InputError(f"truncation: z of the prior {self._prior_name!r} cannot be truncated; leave it out")
            return cut

        z = redraw()
        if z.shape != (count, self.spec.latent_size):
            raise InputError(
                f"latent: z of the prior {self._prior_name!r} has shape {tuple(z.shape)}, and the generator takes "
                f"{(count, self.spec.latent_size)}; do not change the size of z"
            )
        for change in self._changes:
            z = change(z, redraw, randomness, truncate)
        return z if truncation in (None, math.inf) else truncate(z, truncation)

    def images(self, z: Tensor, condition: Tensor | None) -> Iterator[Tensor]:
        """Generate images from z (N, latent_size). `condition` is the condition of each image, or None.

        Yield the images as uint8 tensors (n, C, H, W) on the CPU, with n at most `CHUNK`.
        """
        yield from (to_bytes(chunk) for chunk in self.outputs(z, condition))

    @torch.no_grad()
    def outputs(self, z: Tensor, condition: Tensor | None, noise_seed: int = 0) -> Iterator[Tensor]:
        """Generate images from z (N, latent_size). `condition` is the condition of each image, or None.

        Yield the images as float32 tensors (n, C, H, W) in [-1, 1] on the CPU, with n at most `CHUNK`. The generator
        runs in evaluation mode. Afterwards, its previous mode and the random state are restored. Source images that are
        the condition may have data type uint8. `noise_seed` is the random seed of noise inside the generator.
        """
        with eval_mode(self.generator), fork_rng(self.device, noise_seed):
            for start in range(0, len(z), CHUNK):
                chunk = slice(start, start + CHUNK)
                inputs = self.inputs(z[chunk], None if condition is None else condition[chunk])
                yield self.generator(*inputs).float().cpu()

    def inputs(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return z and the condition on the generator's device, with source images as float32 in [-1, 1]."""
        return z.to(self.device), None if condition is None else as_input(condition.to(self.device))

    @property
    def unmoved_generator(self) -> nn.Module:
        """Generator without the move of `moved`."""
        return self.generator.network if isinstance(self.generator, MovedGenerator) else self.generator

    def moved(self, directions: Directions, moves: Mapping[int, float]) -> Sampler:
        """Return a sampler with the same generator, whose samples are moved along directions of the latent space.

        If this sampler is itself the result of `moved`, its earlier moves are replaced.

        Args:
            directions: directions of this generator, from `load_directions` or `find_directions`.
            moves: number of standard deviations for each direction, by the number of the direction, such as `{3: 2.5}`.

        Raises:
            InputError: there is no direction with one of the numbers.
        """
        moved = copy.copy(self)
        shift = directions.shift(moves).to(self.device)
        moved.generator = MovedGenerator(self.unmoved_generator, shift)
        return moved

    def save(self, z: Tensor, condition: Tensor | None, folder: Path, names: Sequence[str] = ()) -> None:
        """Generate samples from z and `condition`, and write each sample to a separate file in `folder`.

        The files are PNG images, unless a plugin's hook `save_samples` writes files of another type. `names` are the
        names of the files without suffix, such as the names of source images. By default, a name is a number and the
        class name or text of the sample. If two names are equal, or if there are fewer names than samples, the names
        are repeated, with a number before each one. Names that are too long or contain slashes also get a number, and
        are changed by `safe_name`.
        """
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        remaining = iter(self.file_names(len(z), condition, names))
        for samples in self.outputs(z, condition):
            self.write(samples, [next(remaining) for _ in samples], folder)

    def write(self, samples: Tensor, names: Sequence[str], folder: Path) -> list[Path]:
        """Write each of the samples (N, *shape) in [-1, 1] to a separate file, and return the paths of the files.

        The files are PNG images, unless a plugin's hook `save_samples` writes files of another type.

        Args:
            samples: samples of the generator, on the CPU.
            names: name of each file without suffix.
            folder: existing folder for the files.
        """
        paths = None if self.save_samples is None else self.save_samples(samples, names, folder)
        if paths is not None:
            return list(paths)
        paths = [folder / f"{name}.png" for name in names]
        for path, picture in zip(paths, to_bytes(as_pictures(samples)), strict=True):
            save_png(to_image(picture), path)
        return paths

    def file_names(self, count: int, condition: Tensor | None, names: Sequence[str] = ()) -> list[str]:
        """Return a file name without suffix for each sample. The other arguments are those of `save`."""
        # Some file systems do not distinguish between small and capital letters.
        fits = all(len(name.encode()) <= LONGEST_NAME and not {*name} & {*"/\\"} for name in names[:count])
        if fits and len({name.casefold() for name in names[:count]}) == count:
            return list(names[:count])
        if not names and self.condition is not None and condition is not None:
            names = [self.condition.name_of(row) for row in condition]
        numbered = zip(range(count), cycle(names or [""]), strict=False)
        return [f"{number:06d}_{safe_name(name)}".rstrip("_") for number, name in numbered]

    def save_file(self, z: Tensor, condition: Tensor | None, path: Path, seed: int = 0) -> None:
        """Generate samples from z and `condition`, and write all samples to one file, such as the rows of a CSV file.

        An existing file is replaced only when the new file is complete. `seed` is the random seed of noise inside the
        generator, so that files with different seeds are independent.

        Raises:
            InputError: no plugin of the generator writes files with the suffix of `path`.
        """
        self._check_suffix(path)
        # z has the same seed. The noise needs another one, because equal seeds would give correlated numbers.
        self.write_file(torch.cat(list(self.outputs(z, condition, derived_seed(seed, "noise")))), condition, path)

    def write_file(self, samples: Tensor, condition: Tensor | None, path: Path) -> None:
        """Write all samples (N, *shape) in [-1, 1] and their condition to one file, such as the rows of a CSV file.

        An existing file is replaced only when the new file is complete.

        Raises:
            InputError: no plugin of the generator writes files with the suffix of `path`.
        """
        self._check_suffix(path)
        assert self._save_sample_file is not None
        with whole_file(path) as temporary:
            if self._save_sample_file(samples, condition, temporary, self.spec) is None:
                raise self._wrong_suffix(path)

    def _check_suffix(self, path: Path) -> None:
        if self._save_sample_file is None or path.suffix.lower() not in self.file_suffixes:
            raise self._wrong_suffix(path)

    def _wrong_suffix(self, path: Path) -> InputError:
        suffixes = " or ".join((*self.file_suffixes, ".png"))
        return InputError(f"{path}: the generator writes no such file; choose a name that ends in {suffixes}")

    def sample(
        self,
        count: int,
        wanted: Wanted = None,
        seed: int = 0,
        truncation: float | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return uint8 images (count, C, H, W) and their condition, such as labels (count,).

        The condition is None if G is unconditional. This method raises the same errors as `conditions` and `latent`.

        Args:
            count: number of images.
            wanted: name or index of a class, or a dict such as `{"age": 30}` or `{"text": "a circle"}`. If None, the
                images cycle through all classes, or through conditions of real images.
            seed: random seed for z.
            truncation: threshold for z, or None.
            sources: source images (n, C, H, W), for an image-to-image generator.
        """
        condition = self.conditions(count, requested_by(wanted), seed, sources)
        return torch.cat(list(self.images(self.latent(count, condition, seed, truncation), condition))), condition

    def sweep(
        self,
        sweeps: Mapping[str, Sequence[str | float]],
        rows: int = 1,
        wanted: Wanted = None,
        seed: int = 0,
        truncation: float | None = None,
    ) -> Tensor:
        """Generate images for all combinations of values of the condition, with the same z for all combinations.

        This method raises the same errors as `conditions` and `latent`.

        Args:
            sweeps: values of parts of the condition by name, such as `{"age": (20, 40), "hair": ("grey", "blond")}`.
            rows: number of vectors z.
            wanted: other parts of the condition, the same for all images, such as `{"smile": 1}`.
            seed: random seed for z.
            truncation: threshold for z, or None.

        Returns:
            uint8 images, (rows, n_1, n_2, ..., C, H, W), where n_i is the number of values of sweep i.
        """
        z, condition = self.sweep_inputs(sweeps, rows, requested_by(wanted), seed, truncation)
        images = torch.cat(list(self.images(z, condition)))
        return images.unflatten(0, (rows, *(len(values) for values in sweeps.values())))

    def sweep_inputs(
        self,
        sweeps: Mapping[str, Sequence[str | float]],
        rows: int,
        requested: Requested = MappingProxyType({}),
        seed: int = 0,
        truncation: float | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return z and the condition of the images of `sweep`. The rows of both tensors are in the order of the images.

        Parts of the condition that are neither in `sweeps` nor in `requested` are the same for all images with the
        same z.

        Raises:
            InputError: a name is in both `sweeps` and `requested`, or the generator does not accept the condition.
        """
        if twice := next((name for name in sweeps if name in requested), None):
            raise InputError(f"{twice}: has one value and a sweep; leave out one of them")
        combinations = [dict(zip(sweeps, values, strict=True)) for values in product(*sweeps.values())]
        conditions = [self.conditions(rows, {**requested, **one}, seed) for one in combinations]
        given = [one for one in conditions if one is not None]
        condition = torch.stack(given, 1).flatten(0, 1) if given else None
        # A prior may depend on the condition. All images of a row have the z for the row's first condition.
        z = self.latent(rows, conditions[0], seed, truncation)
        return z.repeat_interleave(len(combinations), 0), condition


def ranged_settings(plugins: Mapping[str, Plugin]) -> dict[str, RangedSetting]:
    """Return the settings that plugins list in `sampling_ranges`, by key. Leave out settings that are not numbers.

    Raises:
        PluginError: a plugin lists a name that is not in its `Config`.
    """
    settings = {}
    for key, plugin in plugins.items():
        for name, (low, high) in plugin.sampling_ranges.items():
            field = plugin.Config.model_fields.get(name)
            if field is None:
                raise PluginError(f"{key}: sampling_ranges: there is no setting {name!r} in Config; correct the name")
            value = getattr(plugin.config, name)
            if isinstance(value, int | float):
                settings[f"{key}.{name}"] = RangedSetting(value, low, high, field.description or "")
    return settings


def safe_name(name: str) -> str:
    """Shorten a name and replace its special characters by `_`, to make it safe as a part of a file name.

    The name may come from an untrusted generator file. A `/` in the name would put the file in another folder.
    """
    return re.sub(r"[^\w.+-]", "_", name).encode()[:LONGEST_NAME].decode(errors="ignore")


def part(tensors: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return the tensors of one generator of an ensemble, whose names in the file start with its number and a dot."""
    start = f"{number}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def examples_of(condition: Condition | None, rows: Any) -> Tensor | None:
    """Return the example conditions of a generator file as a tensor, or None if the file contains none.

    `rows` is the value of `condition_examples` in the metadata of the file.

    Raises:
        TypeError, ValueError: the examples are not valid values of the condition.
    """
    if condition is None or rows is None:
        return None
    examples = torch.tensor(rows, dtype=condition.dtype)
    if not examples.dim() or not len(examples) or condition.mistake(examples):
        raise ValueError("the examples do not fit the condition")
    return examples


def check_override(key: str, needed: Iterable[str], path: Path) -> None:
    """Check that an override changes a setting of a plugin that sampling needs, and does not replace the plugin.

    Args:
        key: key of the override in the recipe.
        needed: keys of the plugins that sampling needs.
        path: path of the generator file, for error messages.

    Raises:
        InputError: the override is not allowed.
    """
    if not any(key.startswith(f"{plugin}.") for plugin in needed):
        raise InputError(
            f"{key}: is not a setting of a plugin that acts when {path} draws samples; these do: {', '.join(needed)}"
        )
    if key.endswith(".use"):
        raise InputError(f"{key}: the plugins of {path} cannot be exchanged; set other settings of them")


def truncated(z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor:
    """Redraw elements of z until no absolute value exceeds the threshold. Return the new z.

    Args:
        z: latent vectors of any shape.
        redraw: function that draws a new z of the same shape from the prior.
        threshold: maximum absolute value, positive.

    Raises:
        InputError: almost all values drawn from the prior exceed the threshold.

    Source: Brock 2018, section 3.1.
    """
    for _ in range(REDRAWS):
        far = z.abs() > threshold
        if not far.any():
            return z
        z = torch.where(far, redraw(), z)
    raise InputError(f"truncation {threshold}: the prior has almost no numbers below it; use a larger truncation")
