"""Folder of an ablation study: study.json, a recipe for each variant, and a run directory for each variant and seed.

Example:

runs/gaussian_ring/ablation/
  study.json              variants and seeds of the study
  recipe.toml             recipe of the base variant
  without-r1.toml         recipe of the variant without the trick r1
  recipe/seed-0/          a run directory, with outcome.json once the run has ended
  recipe/seed-0.log       stdout and stderr of the process that trains this run
  without-r1/seed-0/
  table.md  table.json    effect of each trick
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gankit.ablation.variants import Variant
from gankit.errors import InputError
from gankit.recipe.diff import differing_keys, flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import Raw
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_text
from gankit.storage.lock import Lock
from gankit.storage.provenance import changed_plugins, plugin_record
from gankit.storage.run_dir import RunDir
from gankit.version import __version__


@dataclass(frozen=True)
class StudyRun:
    """Run of an ablation study: one variant of the recipe, trained with one seed."""

    variant: Variant
    seed: int
    study: Path

    @property
    def path(self) -> Path:
        """Run directory, inside the study's folder."""
        return self.study / self.variant.folder / f"seed-{self.seed}"

    @property
    def recipe_file(self) -> Path:
        """Recipe file of the variant."""
        return self.study / f"{self.variant.folder}.toml"

    @property
    def output_file(self) -> Path:
        """File with the stdout and stderr of the process that trains the run."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def outcome_file(self) -> Path:
        """File with the outcome of the run. The file exists only if the run has ended."""
        return self.path / "outcome.json"

    @property
    def name(self) -> str:
        """Name of the run in messages, such as `without r1, seed 0`."""
        return f"{self.variant.name}, seed {self.seed}"

    def outcome(self) -> dict[str, Any] | None:
        """Return the outcome of the run as a dictionary, or None if the run has not ended.

        The keys are `iterations`, `stop_reason` (why a plugin ended the run early, or None) and `failed` (the error
        message, or None).
        """
        return json.loads(self.outcome_file.read_text(encoding="utf-8")) if self.outcome_file.exists() else None


class Study:
    """Ablation study, stored in a folder. Each variant is trained with each seed.

    The first variant is the base, with which all other variants are compared. `threads` is the number of CPU threads of
    each run. This number is recorded, because it affects the rounding of floating-point sums.
    """

    def __init__(self, path: Path, variants: list[Variant], seeds: list[int], threads: int) -> None:
        self.path, self.variants, self.seeds, self.threads = path, variants, seeds, threads
        self._lock = Lock(path, "study")

    @property
    def runs(self) -> list[StudyRun]:
        """All runs, ordered by seed. For each seed, all variants are trained before the next seed begins."""
        return [StudyRun(variant, seed, self.path) for seed in self.seeds for variant in self.variants]

    @property
    def name(self) -> str:
        """Name of the study in the progress display: the name of the recipe."""
        return self.base.recipe.name

    @property
    def base(self) -> Variant:
        """Base variant, with which all other variants are compared."""
        return self.variants[0]

    @staticmethod
    def exists(path: Path) -> bool:
        """Return True if a folder contains a study."""
        return (path / "study.json").is_file()

    @classmethod
    def open(cls, path: Path) -> Study:
        """Read a study from its folder.

        Raises:
            InputError: a plugin has changed since a run of the study ended.
        """
        record = json.loads((path / "study.json").read_text(encoding="utf-8"))
        variants = []
        for entry in record["variants"]:
            source = path / f"{entry['folder']}.toml"
            recipe = Recipe.from_dict(entry["recipe"], source=source, recorded=entry["plugins"])
            variants.append(Variant(entry["folder"], entry["trick"], entry["adds"], recipe))
        study = cls(path, variants, record["seeds"], record["threads"])
        now = {variant: plugin_record(variant.recipe.components) for variant in variants}
        for run in study.runs:
            before = RunDir(run.path).read_last_environment()
            if run.outcome() is not None and (changes := changed_plugins(before, now[run.variant])):
                raise InputError(f"{path}: {changes[0]}; runs before and after cannot be compared; use another --out")
        return study

    @classmethod
    def begin(cls, path: Path, variants: list[Variant], seeds: Sequence[int], threads: int) -> Study:
        """Create a study in a folder, or add variants and seeds to the existing study.

        The folder is locked until `release` is called, so that only one process trains the study.
        """
        existing = cls.open(path) if cls.exists(path) else None
        if existing is not None:
            # If no run of the existing study has started, the study is replaced and need not be checked.
            if existing.has_begun():
                _check_extends(existing, variants, seeds)
                threads = existing.threads
        elif path.is_file():
            raise InputError(f"--out {path}: is a file; use another folder")
        elif path.is_dir() and any(not p.name.startswith((TEMPORARY, ".lock")) for p in path.iterdir()):
            raise InputError(f"--out {path}: the folder is not empty and holds no study; use another folder")
        study = cls(path, variants, list(seeds), threads)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        study._lock.acquire()
        study.write()
        return study

    def has_begun(self) -> bool:
        """Return True if any run of the study has started."""
        return any((run.path / "recipe.toml").exists() for run in self.runs)

    def write(self) -> None:
        """Write study.json and the recipe of each variant."""
        variants = [
            {"folder": v.folder, "trick": v.trick, "adds": v.adds, "recipe": v.recipe.to_dict()}
            | {"plugins": plugin_record(v.recipe.components)}
            for v in self.variants
        ]
        record = {"gankit": __version__, "seeds": self.seeds, "threads": self.threads, "variants": variants}
        # Write study.json before the recipe files, because study.json identifies the folder as a study. If the process
        # is killed in between, a resumed study writes the recipe files. Do not sort the JSON keys, because the order of
        # the tricks in a recipe matters.
        write_text(self.path / "study.json", json.dumps(record, indent=2) + "\n")
        for variant in self.variants:
            write_text(self.path / f"{variant.folder}.toml", variant.recipe.to_toml())

    def release(self) -> None:
        """Release the lock of the study's folder."""
        self._lock.release()


def _check_extends(existing: Study, variants: list[Variant], seeds: Sequence[int]) -> None:
    """Raise InputError if a variant or seed of the existing study was not requested, or if a variant has changed."""
    help_text = f"`gankit ablate {existing.path}` resumes the study, and another --out starts a new one"
    requested = {variant.folder: variant for variant in variants}
    for variant in existing.variants:
        if variant.folder not in requested:
            raise InputError(
                f"{existing.path}: the study has the variant {variant.folder}, which was not requested; {help_text}"
            )
        before, now = variant.recipe.to_dict(), requested[variant.folder].recipe.to_dict()
        for key in differing_keys([before, now]):
            if key != "requires":
                raise InputError(
                    f"{existing.path}: {key} of {variant.folder} is {value_text(before, key)} in the study and "
                    f"{value_text(now, key)} in the request; {help_text}"
                )
    if left_out := [seed for seed in existing.seeds if seed not in seeds]:
        raise InputError(f"--seeds: the study in {existing.path} also has seed {left_out[0]}; {help_text}")


def value_text(recipe: Raw, key: str) -> str:
    """Return the value at a key of a recipe as text, for error messages.

    For the key `tricks`, the text contains the names of the tricks, in the order of the recipe.
    """
    if key == "tricks":
        return f"in the order {', '.join(recipe['tricks'])}"
    flat = flattened(recipe)
    return json.dumps(flat[key]) if key in flat else "missing"
