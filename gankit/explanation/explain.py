"""Explanation of a run: attribution of D's logit to pixels, and parts of the images that units of G draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import MofNCompleteColumn
from torch import Tensor

from gankit.errors import InputError, PluginError, recipe_errors
from gankit.explanation.attribution import Function, attribution_share, integrated_gradients, occlusion
from gankit.explanation.dissection import Agreement, agreement, iou, quantiles, upsampled
from gankit.explanation.layers import Layer, ablated, default_layer, feature_maps, layers_of
from gankit.explanation.pictures import HeatMaps, heat_map_picture, unit_picture
from gankit.images.grid import as_input, grid, to_bytes
from gankit.images.io import save_png
from gankit.plugin.condition import ImageCondition, VectorCondition, evenly_spaced
from gankit.plugin.dataset import Rows
from gankit.plugin.hook_values import describe
from gankit.runtime.progress_bar import progress_bar
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.directions import frozen
from gankit.sampling.sampler import CHUNK, Sampler
from gankit.storage.atomic_io import disk_errors, write_json
from gankit.training.reconstruction import encode
from gankit.training.run import TrainingRun
from gankit.training.saved_run import SavedRun, load_saved_run, mean_logits

BASELINE_IMAGES = 1024
"""Maximum number of real images whose mean is the baseline of integrated gradients and the fill of occlusion."""

PATH_STEPS = 64
"""Number of points on the path of integrated gradients."""

PATCHES_PER_SIDE = 4
"""Number of occlusion patches side by side along the shorter side of an image. Patches overlap by one half."""

DISSECTED, ABLATED = 256, 128
"""Numbers of samples to measure the agreement of units with parts, and the effect of an ablation."""

MAX_VALUES = 1 << 26
"""Maximum number of values of feature maps in memory at a time."""

MIN_AREA = 0.002
"""Minimum share of the pixels of generated images for a part to be used."""

RANDOM_SETS = 8
"""Number of random sets of units that are ablated for comparison."""

FULL_COLOUR_LEVEL = 0.98
"""Quantile level of the absolute attribution that has the full colour in the heat maps."""

SHOWN_UNITS, SHOWN_IMAGES = 12, 8
"""Maximum number of units in the picture of the units, and number of images for each unit."""

ABLATED_PARTS = 6
"""Maximum number of parts in the picture of the ablations."""

EXCITED_LEVEL = 0.95
"""Quantile level of a unit's threshold in the picture, if the parts of the images are unknown."""


PICTURES = ("discriminator-real", "discriminator-generated", "generator-units", "generator-ablation")
"""Names of the pictures. `generator-ablation` exists only if the parts of the images are known."""


@dataclass(frozen=True)
class Share:
    """Share of the absolute attributions of D that lie in one part of the images."""

    images: str
    """`real` or `generated`."""

    part: str
    area: float
    """Share of the pixels."""

    difference: float
    """Share of |x - baseline|, which is a factor of the integrated gradients. Compare both shares."""

    integrated_gradients: float
    occlusion: float


@dataclass(frozen=True)
class Unit:
    """Unit of the dissected layer, and the images that excite it most."""

    unit: int
    mean: float
    """Mean absolute value of its feature map."""

    images: tuple[str, ...]
    """Conditions of the images with the largest values, such as names of classes. Empty without a condition."""

    part: str = ""
    """Part with the largest agreement. Empty if the parts are unknown."""

    iou: float = 0.0


@dataclass(frozen=True)
class Ablation:
    """Effect of the ablation of units on the area of a part."""

    part: str
    units: tuple[int, ...]
    """Units with the largest agreement with the part."""

    area: float
    """Share of the pixels of generated images, without ablation."""

    remaining: float
    """Area with ablation, divided by the area without."""

    random: tuple[float, float, float]
    """Mean, minimum and maximum of the same ratio for random sets of as many units."""


@dataclass(frozen=True)
class Explanation:
    """Result of `explain`."""

    iteration: int
    """Iteration at which the networks were saved."""

    completeness_error: float
    """Largest difference between the sum of integrated gradients and logit(x) - logit(baseline)."""

    shares: list[Share]
    rule_iou: dict[str, float]
    """IoU between the parts that the plugin finds in real images and their true masks. Empty if these are unknown."""

    layer: Layer | None
    """Dissected layer of G. None if no layer has feature maps."""

    units: list[Unit]
    ablations: list[Ablation]
    pictures: dict[str, Image.Image]
    """Pictures by name, from `PICTURES`. Those of G are absent if `layer` is None."""

    def record(self) -> dict[str, Any]:
        """Return all facts except the pictures, as JSON values."""
        layer = None if self.layer is None else self.layer._asdict()
        return {
            "iteration": self.iteration,
            "completeness_error": self.completeness_error,
            "shares": [asdict(share) for share in self.shares],
            "rule_iou": self.rule_iou,
            "layer": layer,
            "units": [asdict(unit) for unit in self.units],
            "ablations": [asdict(ablation) for ablation in self.ablations],
        }

    def save(self, folder: str | Path) -> None:
        """Write the pictures as PNG files, and the facts as `explanation.json`, to a folder."""
        folder = Path(folder)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for name, picture in self.pictures.items():
            save_png(picture, folder / f"{name}.png")
        for name in {*PICTURES} - self.pictures.keys():
            (folder / f"{name}.png").unlink(missing_ok=True)  # from an earlier call
        write_json(folder / "explanation.json", self.record())


def explain(
    run: str | Path, count: int = 8, layer: str | None = None, device: str = "auto", trust: bool = False
) -> Explanation:
    """Explain D and G of a run: the pixels that D's logit depends on, and the parts that units of G draw.

    Parts are known if a plugin of the run implements the hook `find_parts`. Without it, the result has the attributions
    of D and the most active units of G.

    Args:
        run: run directory.
        count: number of real images and of generated images for the attributions.
        layer: name of a module of G. Default: `default_layer`, which has at most half of the height of the images.
        device: device to use.
        trust: True to import plugins that the run's recipe specifies by module or path.

    Raises:
        InputError: the run cannot be loaded, its samples are not images, or there is no such layer.
    """
    path = Path(run)
    loaded = load_saved_run(path, device, trust)
    if len(loaded.run.spec.shape) != 3 or loaded.sampler.draw_samples is not None:
        raise InputError(f"{path}: the samples are no images, so they have no pixels to explain; use a run on images")
    with recipe_errors(loaded.run.recipe.source, "data"):
        data = loaded.run.dataset.read()
    loaded = with_sources(loaded, data)
    chosen = chosen_layer(loaded.sampler, layer)
    parts = PartFinder(loaded.run)
    pictures, shares, error = explain_discriminator(loaded, data, parts, count)
    units: list[Unit] = []
    ablations: list[Ablation] = []
    if chosen is not None:
        drawn, units, ablations = explain_generator(loaded.sampler, chosen, parts)
        pictures |= drawn
    return Explanation(
        loaded.iteration, error, shares, rule_agreement(data, parts, count), chosen, units, ablations, pictures
    )


def with_sources(loaded: SavedRun, data: Rows) -> SavedRun:
    """Give the sampler of an image-to-image generator source images of the data. Other runs are returned unchanged."""
    run, sampler, iteration = loaded
    if not isinstance(sampler.condition, ImageCondition) or data.condition is None:
        return loaded
    sources = data.condition[evenly_spaced(len(data.condition), min(DISSECTED, len(data.condition)))]
    return SavedRun(run, Sampler(sampler.generator, run.hooks, run.spec, run.device, sources), iteration)


def chosen_layer(sampler: Sampler, name: str | None) -> Layer | None:
    """Return the layer with a name, or the default layer. Return None if the generator has no feature maps.

    Raises:
        InputError: the generator has no layer with this name.
    """
    layers = layers_of(sampler)
    if name is None:
        return default_layer(layers, sampler.spec.channels, sampler.spec.shape[1]) if layers else None
    for layer in layers:
        if layer.name == name:
            return layer
    names = ", ".join(f"{one.name} ({one.units} units of {one.height}x{one.width})" for one in layers)
    raise InputError(f"--layer {name}: G has no such layer with feature maps; choose one of {names or 'none'}")


class PartFinder:
    """Parts of images from the hook `find_parts`. `known` is False if no plugin implements it."""

    def __init__(self, run: TrainingRun) -> None:
        self._find: Callable[[Tensor, Mapping[str, Tensor]], Mapping[str, Tensor] | None] | None = run.hooks.sole(
            "find_parts"
        )
        self.known = self._find is not None
        self._keys = " and ".join(implementation.key for implementation in run.hooks.of("find_parts"))

    @torch.no_grad()
    def __call__(self, images: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mask (N, H, W) bool of each part of images (N, C, H, W) uint8. Empty if parts are unknown.

        Raises:
            PluginError: a mask has another shape or data type.
        """
        parts = None if self._find is None else self._find(images, fields)
        expected = (len(images), *images.shape[2:])
        for name, mask in (parts or {}).items():
            if mask.shape != expected or mask.dtype != torch.bool:
                raise PluginError(
                    f"{self._keys}: `find_parts` returns {describe(mask)} of {mask.dtype} for {name!r}; it must return "
                    f"bool masks of shape {expected}"
                )
        return dict(parts or {})


def rule_agreement(data: Rows, parts: PartFinder, count: int) -> dict[str, float]:
    """Return the IoU between the parts that are found without and with the fields of the data, by name.

    The fields, such as masks, contain the truth. The result is empty if the data have no fields.
    """
    if not parts.known or not data.fields:
        return {}
    rows = data.map(lambda tensor: tensor[evenly_spaced(len(data.images), min(max(count, ABLATED), len(data.images)))])
    images = to_bytes(as_input(rows.images))
    found, true = parts(images, {}), parts(images, rows.fields)
    return {name: iou(found[name], mask) for name, mask in true.items() if name in found and mask.any()}


def logit_function(run: TrainingRun, condition: Tensor | None) -> Function:
    """Return the function that maps images (B, C, H, W) in [-1, 1] to D's logits (B,), for a condition (B, ...).

    If D has several logits for an image, the result is their mean. With packing, the pack has equal images.
    """
    pack = run.spec.pack
    if condition is not None and isinstance(run.spec.condition, VectorCondition) and not run.spec.latent_pairs:
        condition = condition.repeat(1, pack)

    def logits(images: Tensor) -> Tensor:
        return mean_logits(run, images.repeat(1, pack, 1, 1), condition)

    return logits


def explain_discriminator(
    loaded: SavedRun, data: Rows, parts: PartFinder, count: int
) -> tuple[dict[str, Image.Image], list[Share], float]:
    """Attribute D's logits of real and generated images to their pixels.

    Returns:
        Pictures by name, shares of the attributions in each part, and the largest error of the completeness.
    """
    run, sampler, _ = loaded
    count = min(count, len(data.images))
    real, condition, fields = data.map(lambda tensor: tensor[evenly_spaced(len(data.images), count)])
    real, condition = as_input(real), None if condition is None else as_input(condition)
    seed = derived_seed(run.recipe.seed, "explanation")
    given = sampler.conditions(count, seed=seed)
    z = sampler.latent(count, given, seed)
    fake = torch.cat([*sampler.outputs(z, given)])
    # An unconditional G may have a conditional D, which takes the conditions of real images in training.
    fake_condition = condition if given is None else as_input(given)
    if run.spec.latent_pairs:
        condition = torch.cat([encode(run, chunk.to(run.device)).cpu() for chunk in real.split(CHUNK)])
        fake_condition = z
    some = data.images[evenly_spaced(len(data.images), min(BASELINE_IMAGES, len(data.images)))]
    baseline = as_input(some).mean(0)
    maps = {
        "real": attributions(run, real, condition, baseline),
        "generated": attributions(run, fake, fake_condition, baseline),
    }
    masks = {"real": parts(to_bytes(real), fields), "generated": parts(to_bytes(fake), {})}
    shares = [
        Share(
            images,
            part,
            mask.double().mean().item(),
            attribution_share((one.images - baseline).abs().sum(1), mask),
            attribution_share(one.gradients, mask),
            attribution_share(one.occlusion, mask),
        )
        for images, one in maps.items()
        for part, mask in masks[images].items()
        if mask.double().mean() >= MIN_AREA
    ]
    scales = [
        quantiles(torch.cat([getattr(one, name).abs().flatten() for one in maps.values()]), (FULL_COLOUR_LEVEL,)).item()
        for name in ("gradients", "occlusion")
    ]
    pictures = {f"discriminator-{name}": heat_map_picture(one, *scales) for name, one in maps.items()}
    return pictures, shares, max(one.completeness_error for one in maps.values())


def attributions(run: TrainingRun, images: Tensor, condition: Tensor | None, baseline: Tensor) -> HeatMaps:
    """Attribute D's logits of images (N, C, H, W) in [-1, 1] to their pixels. D is in evaluation mode."""
    patch = max(1, min(images.shape[2:]) // PATCHES_PER_SIDE)
    baseline = baseline.to(run.device)
    chunks: list[tuple[Tensor, ...]] = []
    with ExitStack() as stack:
        stack.enter_context(fork_rng(run.device))
        for network in run.networks.values():
            stack.enter_context(eval_mode(network))
            stack.enter_context(frozen(network))
        for start in range(0, len(images), CHUNK):
            x = images[start : start + CHUNK].to(run.device)
            own = None if condition is None else condition[start : start + CHUNK].to(run.device)
            f = logit_function(run, own)
            gradients = integrated_gradients(f, x, baseline, PATH_STEPS).sum(1)
            with torch.no_grad():
                logits, first = f(x), f(baseline.expand_as(x))
            decrease = occlusion(f, x, baseline, patch, max(1, patch // 2))
            chunks.append(tuple(t.detach().float().cpu() for t in (gradients, decrease, logits, first)))
    gradients, decrease, logits, first = (torch.cat(values) for values in zip(*chunks, strict=True))
    error = (gradients.sum((1, 2)) - (logits - first)).abs().max().item()
    return HeatMaps(images, gradients, decrease, logits, error, patch)


def explain_generator(
    sampler: Sampler, layer: Layer, parts: PartFinder
) -> tuple[dict[str, Image.Image], list[Unit], list[Ablation]]:
    """Find the parts that the units of a layer draw, and check each part by ablation of its units.

    Returns:
        Pictures by name, the units sorted by agreement or activity, and the ablations. There are no ablations if the
        parts are unknown.
    """
    seed = derived_seed(0, "dissection")
    condition = sampler.conditions(DISSECTED, seed=seed)
    z = sampler.latent(DISSECTED, condition, seed)
    images = torch.cat([*sampler.images(z, condition)])
    found = {name: mask for name, mask in parts(images, {}).items() if mask.double().mean() >= MIN_AREA}
    masks = torch.stack([*found.values()], 1) if found else None
    group = max(1, MAX_VALUES // (DISSECTED * layer.height * layer.width))
    means, peaks, measured = [], [], []
    for start in range(0, layer.units, group):
        maps = feature_maps(sampler, layer.name, z, condition, slice(start, start + group))
        means.append(maps.abs().mean((0, 2, 3)))
        peaks.append(maps.amax((2, 3)))
        if masks is not None:
            measured.append(agreement(maps, masks))
    mean, peak = torch.cat(means), torch.cat(peaks, 1)
    names = [*found]
    best: Agreement | None = None
    if measured:
        best = Agreement(torch.cat([one.thresholds for one in measured]), torch.cat([one.iou for one in measured]))
    shown, described = [], []
    for unit, part in shown_units(mean, best):
        order = peak[:, unit].argsort(descending=True)[:SHOWN_IMAGES]
        texts = condition_names(sampler, condition, order)
        own = feature_maps(sampler, layer.name, z, condition, slice(unit, unit + 1))[:, 0]
        if best is None:
            threshold = quantiles(own.flatten(), (EXCITED_LEVEL,)).item()
            described.append(Unit(unit, mean[unit].item(), texts))
            name = f"unit {unit}"
        else:
            threshold = best.thresholds[unit, part].item()
            described.append(Unit(unit, mean[unit].item(), texts, names[part], best.iou[unit, part].item()))
            name = f"unit {unit}: {names[part]} {best.iou[unit, part]:.2f}"
        size = (images.shape[2], images.shape[3])
        shown.append((name, images[order], upsampled(own[order], size) > threshold))
    pictures = {"generator-units": unit_picture(shown)}
    if best is None or masks is None:
        return pictures, described, []
    pictures["generator-ablation"] = ablation_picture(sampler, layer, names, best.iou, masks, z, condition)
    return pictures, described, ablate_parts(sampler, layer, parts, names, best.iou, seed)


def ablation_picture(
    sampler: Sampler,
    layer: Layer,
    names: Sequence[str],
    ious: Tensor,
    masks: Tensor,
    z: Tensor,
    condition: Tensor | None,
) -> Image.Image:
    """Return a picture of images with a large area of a part, and below them the same images after ablation.

    A quarter of the units, rounded down to a power of two, is set to zero: those with the largest IoU with the part.

    Args:
        sampler: sampler with the generator.
        layer: layer with the units.
        names: names of the C parts.
        ious: IoU of each unit with each part, (U, C).
        masks: parts of the images of z, (N, C, H, W).
        z: latent vectors, (N, latent_size).
        condition: condition, (N, ...), or None.
    """
    size = ablation_sizes(max(2, layer.units // 2))[-1]
    rows, titles = [], []
    for part in ious.amax(0).argsort(descending=True)[:ABLATED_PARTS].tolist():
        chosen = masks[:, part].double().mean((1, 2)).argsort(descending=True)[:SHOWN_IMAGES]
        inputs = z[chosen], None if condition is None else condition[chosen]
        units = ious[:, part].argsort(descending=True)[:size].tolist()
        rows += [*sampler.images(*inputs)]
        with ablated(sampler.generator, layer.name, units):
            rows += [*sampler.images(*inputs)]
        titles += [names[part], f"without units {', '.join(map(str, units))}"]
    return grid(torch.cat(rows), SHOWN_IMAGES, titles)


def ablation_sizes(units: int) -> list[int]:
    """Return the numbers of units that are ablated together: 1, 2, 4 and so on, up to half of all units."""
    return [1 << power for power in range(units.bit_length()) if 1 << power <= max(1, units // 2)]


def condition_names(sampler: Sampler, condition: Tensor | None, rows: Tensor) -> tuple[str, ...]:
    """Return the names of some rows of a condition, such as class names. Empty if the condition has no names."""
    if condition is None or sampler.condition is None:
        return ()
    names = tuple(sampler.condition.name_of(row) for row in condition[rows])
    return names if any(names) else ()


def shown_units(mean: Tensor, best: Agreement | None) -> list[tuple[int, int]]:
    """Return pairs (unit, part) for the picture: the best unit of each part, or the most active units with part 0.

    Args:
        mean: mean absolute value of each unit, (U,).
        best: agreement of the units with the parts, or None if the parts are unknown.
    """
    if best is None:
        return [(unit, 0) for unit in mean.argsort(descending=True)[:SHOWN_UNITS].tolist()]
    values, units = best.iou.max(0)
    return [(int(units[part]), part) for part in values.argsort(descending=True)[:SHOWN_UNITS].tolist()]


def ablate_parts(
    sampler: Sampler, layer: Layer, parts: PartFinder, names: Sequence[str], ious: Tensor, seed: int
) -> list[Ablation]:
    """Measure the area of each part after the ablation of its units with the largest IoU, and of random units.

    Args:
        sampler: sampler with the generator.
        layer: layer with the units.
        parts: function that finds the parts.
        names: names of the parts.
        ious: IoU of each unit with each part, (U, C).
        seed: random seed of z and of the random units.

    Source: Bau 2019, section 3.2 and figure 4. The paper optimises the set of units; here it is sorted by the IoU.
    """
    condition = sampler.conditions(ABLATED, seed=seed)
    z = sampler.latent(ABLATED, condition, seed + 1)
    randomness = torch.Generator().manual_seed(seed)
    sizes = ablation_sizes(layer.units)

    def areas(units: Sequence[int]) -> dict[str, float]:
        with ablated(sampler.generator, layer.name, units):
            masks = parts(torch.cat([*sampler.images(z, condition)]), {})
        return {name: masks[name].double().mean().item() if name in masks else 0.0 for name in names}

    before, results = areas([]), []
    order = ious.argsort(0, descending=True)
    with progress_bar("ablation", len(sizes) * (len(names) + RANDOM_SETS), MofNCompleteColumn()) as bar:
        for size in sizes:
            random = []
            for _ in range(RANDOM_SETS):
                random.append(areas(torch.randperm(layer.units, generator=randomness)[:size].tolist()))
                bar.advance(bar.task_ids[0])
            for part, name in enumerate(names):
                bar.advance(bar.task_ids[0])
                if not before[name]:
                    continue
                units = tuple(order[:size, part].tolist())
                ratios = [one[name] / before[name] for one in random]
                spread = (sum(ratios) / len(ratios), min(ratios), max(ratios))
                results.append(Ablation(name, units, before[name], areas(units)[name] / before[name], spread))
    return results
