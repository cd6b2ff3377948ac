"""AdaGAN study: a run for each generator of a mixture, and the folder that contains these runs.

Example:

runs/adagan/
  adagan.json             settings of the study, the share of each generator, metrics
  step_1/                 run directory of the first generator
  data_2.safetensors      reweighted data of the second generator
  step_2/
  samples.png             samples of each generator and of the mixture
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gankit import (
    Dataset,
    InputError,
    Recipe,
    Rows,
    Sampler,
    Session,
    prepare,
    read_prepared,
    resume,
    sample_grid,
    train,
    write_bytes,
)
from gankit_plugins.command.mixture_discriminator import logits_of, rounded_like, train_discriminator
from gankit_plugins.command.reweighting import (
    data_weights,
    density_ratio,
    effective_size,
    mixture_shares,
    weighted_rows,
)

RECORD = "adagan.json"
"""Name of the file with the settings and results of a study. A folder with this file is the folder of a study."""

TEMPORARY = ".tmp-"
"""Prefix of the names of incomplete files."""

MAX_SAMPLES = 20_000
"""Maximum number of samples of the mixture with which the discriminator is trained."""

CHUNK = 1024
"""Number of rows of reweighted data that are written at once."""

COLUMNS, CAPTION, GAP = 12, 20, 16
"""Layout of samples.png.

The values are the number of images in a row, the height of the text above a plot, and the space between plots. The last
two are in pixels.
"""

CONDITION_SEED = 2**40
"""Difference between the seed of the conditions and the seed of z.

With equal seeds, z would depend on the condition.
"""

UNIFORM = "uniform"
"""Value of `--beta` that gives all generators equal shares of the mixture."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of an AdaGAN study. They must not change when the study is resumed."""

    recipe: Recipe
    beta: float | None
    """Share of each new generator in the mixture. None means equal shares of all generators: 1 / t in step t."""

    discriminator_steps: int
    """Number of training steps of the discriminator between the data and the mixture."""

    def beta_of(self, step: int) -> float:
        """Return the share of the mixture that a step gives to its new generator. Steps are numbered from 1."""
        if step == 1:
            return 1.0
        return 1 / step if self.beta is None else self.beta

    def seed_of(self, step: int, purpose: str) -> int:
        """Return the random seed for a purpose, such as `mixture`, in a step. It is derived from the recipe's seed."""
        text = f"adagan/{self.recipe.seed}/{step}/{purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])

    def to_json(self) -> Json:
        """Return the settings as JSON values."""
        beta = UNIFORM if self.beta is None else self.beta
        values = {"beta": beta, "discriminator_steps": self.discriminator_steps, "recipe": self.recipe.to_dict()}
        result: Json = json.loads(json.dumps(values, default=str))
        return result


@dataclass(frozen=True)
class Generator:
    """Trained generator of an AdaGAN study, with the conditions of its training data."""

    sampler: Sampler
    conditions: Tensor | None
    """Condition of each row of the generator's training data, (N, ...). None for data without a condition."""

    def draw(self, count: int, seed: int) -> Rows:
        """Generate samples (count, *shape) in [-1, 1].

        Their conditions are drawn from the conditions of the training data.
        """
        condition = None
        if self.sampler.condition is not None and self.conditions is not None:
            random = torch.Generator().manual_seed(seed + CONDITION_SEED)
            condition = self.conditions[torch.randint(len(self.conditions), (count,), generator=random)]
        z = self.sampler.latent(count, condition, seed)
        return Rows(torch.cat(list(self.sampler.outputs(z, condition))), condition)


def draw_mixture(generators: Sequence[Generator], shares: Sequence[float], count: int, seed: int) -> Rows:
    """Generate samples of a mixture. The generator of each sample is drawn at random, with the shares as probabilities.

    The samples are ordered by generator.
    """
    random = torch.Generator().manual_seed(seed)
    probabilities = torch.tensor(shares, dtype=torch.float64)
    drawn = torch.multinomial(probabilities, count, replacement=True, generator=random)
    counts = drawn.bincount(minlength=len(shares)).tolist()
    parts = [
        generator.draw(part, seed + number)
        for number, (generator, part) in enumerate(zip(generators, counts, strict=True))
        if part
    ]
    conditions = [part.condition for part in parts if part.condition is not None]
    condition = torch.cat(conditions) if len(conditions) == len(parts) else None
    return Rows(torch.cat([part.images for part in parts]), condition)


def resampled(dataset: Dataset, rows: Rows, index: Tensor) -> Dataset:
    """Return a dataset with the rows of `dataset` at the given indices.

    `rows` are all rows of `dataset`. `index` is an int64 tensor, and may contain an index more than once.
    """

    def stream() -> Iterator[tuple[Tensor, Tensor | None, Mapping[str, Tensor]]]:
        # Copy only one chunk at a time, because a copy of all rows may not fit into memory.
        for some in index.split(CHUNK):
            chunk = rows.map(lambda tensor, some=some: tensor[some])  # type: ignore[misc]
            yield chunk.images, chunk.condition, chunk.fields

    def load() -> tuple[Tensor, Tensor | None, Mapping[str, Tensor]]:
        chosen = rows.map(lambda tensor: tensor[index])
        return chosen.images, chosen.condition, chosen.fields

    return replace(dataset, load=load, stream=stream, at_most=len(index), contents="", inspect=None)


def read_record(out: Path, settings: Settings, steps: int) -> Json | None:
    """Return the contents of adagan.json in a study's folder, or None if a new study can begin in this folder.

    Raises:
        InputError: `out` is a file; the folder contains other files or a damaged adagan.json; or its study has other
            settings or more steps.
    """
    path = out / RECORD
    if not path.is_file():
        if out.is_file():
            raise InputError(f"--out {out}: is a file; name a new or an empty folder")
        # Ignore temporary files, because a killed process may have left an incomplete adagan.json.
        if out.is_dir() and any(not one.name.startswith(TEMPORARY) for one in out.iterdir()):
            raise InputError(f"--out {out}: the folder is not empty and holds no AdaGAN study; name another folder")
        return None
    try:
        record: Json = json.loads(path.read_text(encoding="utf-8"))
        before, done = flat(record["study"]), len(record["steps"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is damaged; name another --out") from None
    now = flat(settings.to_json())
    for key in [*before, *now]:
        if before.get(key) != now.get(key):
            then, here = (json.dumps(one[key]) if key in one else "missing" for one in (before, now))
            name = key.removeprefix("recipe.")
            raise InputError(f"{out}: {name} is {then} in the study and {here} now; name another --out")
    if steps < done:
        raise InputError(f"--steps {steps}: the study in {out} has {done} steps; give {done} or more")
    return record


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Flatten nested dicts into one dict with dotted keys, such as `recipe.seed`.

    The key `requires` is left out, because it does not affect the study.
    """
    if not isinstance(value, dict):
        return {key: value}
    names = {name: f"{key}.{name}" if key else name for name in value}
    return {k: v for name in value if name != "requires" for k, v in flat(value[name], names[name]).items()}


class Study:
    """AdaGAN study: generators that are trained one after the other, and their mixture.

    Args:
        out: folder of the study.
        settings: settings of the study.
        session: session of the recipe. The session contains the data and computes the metrics.
        record: contents of adagan.json, if the study is resumed. None for a new study.
        show: function that prints a line of text about the progress.
    """

    def __init__(
        self, out: Path, settings: Settings, session: Session, record: Json | None, show: Callable[[str], None]
    ) -> None:
        self.out, self.settings, self.session, self.show = out, settings, session, show
        self.record: Json = record or {"study": settings.to_json(), "steps": [], "shares": []}
        self.generators: list[Generator] = []
        self.rows = session.run.dataset.read()

    def train(self, steps: int) -> None:
        """Train the missing generators, up to the given number of steps. Write adagan.json after each step."""
        self.write_record()
        for step in range(1, steps + 1):
            finished = step <= len(self.record["steps"])
            if not finished:
                self.train_step(step, steps)
            self.generators.append(self.load_generator(step))
            if not finished:
                self.record["steps"].append(self.measured(step))
                self.record["shares"] = self.shares()
                self.write_record()

    def shares(self) -> list[float]:
        """Return the share of each trained generator in the mixture."""
        return mixture_shares([self.settings.beta_of(step) for step in range(1, len(self.generators) + 1)])

    def run_path(self, step: int) -> Path:
        """Return the run directory of a step."""
        return self.out / f"step_{step}"

    def data_path(self, step: int) -> Path:
        """Return the path of the reweighted data of a step. The first step has no such file."""
        return self.out / f"data_{step}.safetensors"

    def train_step(self, step: int, steps: int) -> None:
        """Train the generator of a step. If its run has already started, resume the run."""
        path, recipe = self.run_path(step), self.settings.recipe
        if has_ended(path):
            return
        if step > 1:
            if not self.data_path(step).exists():
                self.write_data(step)
            data = f"data.path={json.dumps(str(self.data_path(step).absolute()), ensure_ascii=False)}"
        if (path / "recipe.toml").exists():
            self.show(f"step {step} of {steps}: resuming {path}")
            # Set the path of the data again, because the user may have moved the folder of the study.
            warnings = resume(path, [data] if step > 1 else []).warnings
        else:
            if path.exists():
                # A previous process was killed before it wrote the recipe of the run. Start the run again.
                shutil.rmtree(path)
            self.show(f"step {step} of {steps}: training {path}")
            if step > 1:
                seed = f"seed={self.settings.seed_of(step, 'run')}"
                recipe = recipe.changed([seed, "data.use=images", data], drop=["data"])
            warnings = train(recipe, path).warnings
        for warning in warnings:
            self.show(f"  {warning}")

    def write_data(self, step: int) -> None:
        """Compute the weights of the data for a step, draw rows with these weights, and write the rows to a file."""
        settings, real, device = self.settings, self.rows.images, self.session.run.device
        count = min(len(real), MAX_SAMPLES)
        mixture = draw_mixture(self.generators, self.shares(), count, settings.seed_of(step, "mixture"))
        network = train_discriminator(
            real,
            rounded_like(mixture.images, real.dtype),
            settings.discriminator_steps,
            settings.seed_of(step, "discriminator"),
            device,
        )
        weights = data_weights(density_ratio(logits_of(network, real, device)), settings.beta_of(step))
        index = weighted_rows(weights, len(real), settings.seed_of(step, "rows"))
        prepare(resampled(self.session.run.dataset, self.rows, index), self.data_path(step), f"gankit adagan, {step}")
        used = (weights > 0).double().mean().item()
        effective = effective_size(weights) / len(real)
        self.show(f"step {step}: {used:.0%} of the data have a weight above 0; effective sample size {effective:.0%}")

    def load_generator(self, step: int) -> Generator:
        """Return the trained generator of a step."""
        file = self.run_path(step) / "generator.safetensors"
        sampler = Sampler.load(file, self.settings.recipe.train.device, trust=True)
        rows = self.rows if step == 1 else read_prepared(self.data_path(step)).read()
        return Generator(sampler, rows.condition)

    def measured(self, step: int) -> Json:
        """Return the results of the newest step: share and metrics of its generator, and metrics of the mixture.

        All steps draw their samples with the evaluation seed of the recipe.
        """
        count, seed = self.settings.recipe.evaluation.count, self.settings.recipe.evaluation.seed
        own = self.generators[-1].draw(count, seed)
        mixture = draw_mixture(self.generators, self.shares(), count, seed)
        return {
            "folder": self.run_path(step).name,
            "beta": self.settings.beta_of(step),
            "metrics": self.session.metrics(own.images, own.condition),
            "mixture": self.session.metrics(mixture.images, mixture.condition),
        }

    def write_record(self) -> None:
        """Write adagan.json, with the settings and results of the study, to the folder of the study."""
        write_bytes(self.out / RECORD, (json.dumps(self.record, indent=2) + "\n").encode())

    def draw_picture(self) -> Path:
        """Write samples of each generator and of the mixture to samples.png, and return its path."""
        names = [*(f"step {number}" for number in range(1, len(self.generators) + 1)), "mixture"]
        seed, count = self.settings.seed_of(0, "picture"), self.settings.recipe.output.sample_count
        plot = self.generators[0].sampler.draw_samples
        count = COLUMNS if plot is None else count
        parts = [generator.draw(count, seed).images for generator in self.generators]
        mixture = draw_mixture(self.generators, self.shares(), count, seed).images
        drawn = [plot(samples, None, COLUMNS, ()) for samples in (*parts, mixture)] if plot is not None else []
        plots = [one for one in drawn if one is not None]
        samples = torch.cat([*parts, mixture])
        picture = plots_with_names(plots, names) if plots else sample_grid(samples, count, names)
        data, path = io.BytesIO(), self.out / "samples.png"
        picture.save(data, "PNG")
        write_bytes(path, data.getvalue())
        return path


def has_ended(run: Path) -> bool:
    """Return True if a run has trained all its iterations, or if a plugin has stopped the run."""
    try:
        record = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    last = [record, *record.get("resumed", [])][-1]
    return last.get("ended", {}).get("state") in ("finished", "stopped")


def plots_with_names(plots: Sequence[Image.Image], names: Sequence[str]) -> Image.Image:
    """Return an image with plots of the same size side by side. The name of each plot is above the plot."""
    width, height = plots[0].size
    sheet = Image.new("RGB", ((width + GAP) * len(plots) - GAP, height + CAPTION), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (plot, name) in enumerate(zip(plots, names, strict=True)):
        left = number * (width + GAP)
        sheet.paste(plot, (left, CAPTION))
        pen.text((left + width // 2, CAPTION // 2), name, fill="black", anchor="mm")
    return sheet
