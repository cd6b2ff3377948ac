"""Variants of an ablation study: the base recipe, and for each trick a recipe that differs only in this trick."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gankit.errors import InputError, RecipeError
from gankit.plugin.hooks import hooks_of
from gankit.recipe.recipe import TOP_LEVEL, Recipe
from gankit.suggest import nearest

READ_ONLY_HOOKS = (
    "check_recipe",
    "on_start",
    "log_values",
    "generator_facts",
    "on_log",
    "on_grid",
    "on_samples",
    "on_stop",
    "draw_samples",
    "save_samples",
    "save_sample_file",
    "encode",
    "truncate_latent",
    "compute_metrics",
)
"""Names of the hook points (methods that a plugin can implement) that cannot affect the training."""

BASE = "recipe"  # name of the base variant and of its folder


@dataclass(frozen=True)
class Variant:
    """Variant of a study: the base recipe, or a recipe that differs from the base in one trick."""

    folder: str
    """Name of the folder that contains the variant's runs. The variant's recipe, FOLDER.toml, is beside this folder."""

    trick: str
    """Trick that the variant adds or leaves out, or the changes given to --add. Empty for the base variant."""

    adds: bool
    """True if the variant adds the trick to the base. False if it leaves out a trick of the base."""

    recipe: Recipe = field(compare=False)

    @property
    def name(self) -> str:
        """Name of the variant in messages, such as `recipe`, `without r1` or `with packing.size=2`."""
        return " ".join([self.folder.partition("-")[0], self.trick]) if self.trick else self.folder


def drop_each(recipe: Recipe, only: Sequence[str] = ()) -> list[Variant]:
    """Return the base variant with all tricks, and for each trick a variant without this trick.

    Args:
        recipe: base recipe.
        only: tricks to leave out, or other optional keys such as `normalization.discriminator`. If empty, all tricks
            that can affect the training are left out, each in a separate variant.

    Raises:
        InputError: there is no trick to leave out, or the recipe is not valid without one of the tricks.
    """
    tricks = [key.removeprefix("tricks.") for key in recipe.components if key.startswith("tricks.")]
    read_only = read_only_tricks(recipe)
    removable = [name for name in tricks if name not in read_only]
    if not removable and not only:
        besides = f" except {', '.join(read_only)}, which cannot affect the training" if read_only else ""
        raise InputError(f"{recipe.source}: no tricks to leave out{besides}; --add TRICK adds one instead")
    keys = [_key(name, tricks) for name in only] or [f"tricks.{name}" for name in removable]
    names = [key.removeprefix("tricks.") for key in keys]
    _check_unique(names, "--only")
    variants = [Variant(BASE, "", False, recipe)]
    for name, key in zip(names, keys, strict=True):
        if key.startswith("tricks.") and key not in recipe.components:
            raise InputError(
                f"--only {name}: {recipe.source} has no such trick; "
                f"{nearest(name, tricks)}its tricks: {', '.join(tricks) or 'none'}"
            )
        with variant_errors(f"without {name}", "--only selects the tricks to leave out"):
            variants.append(Variant(f"without-{_slug(name)}", name, False, recipe.changed(drop=[key])))
    return _check_different(variants)


def read_only_tricks(recipe: Recipe) -> list[str]:
    """Return the names of the recipe's tricks that cannot affect the training, such as loggers."""
    return [
        key.removeprefix("tricks.")
        for key, component in recipe.components.items()
        if key.startswith("tricks.")
        and (component.plugin_class.read_only or {*hooks_of(component.plugin_class)} <= {*READ_ONLY_HOOKS})
    ]


def add_each(recipe: Recipe, added: Sequence[str]) -> list[Variant]:
    """Return the base variant, and one variant for each string of changes in `added`.

    Args:
        recipe: base recipe.
        added: one string for each variant, with one or more changes separated by spaces. A change is a trick (`r1`), a
            setting of a trick (`packing.size=2`) or another key of the recipe (`loss=hinge`).

    Raises:
        InputError: a trick is unknown, is already in the recipe, or cannot be combined with the recipe.
    """
    _check_unique(added, "--add")
    variants = [Variant(BASE, "", True, recipe)]
    for given in added:
        overrides = [_override(word) for word in given.split()]
        if not overrides:
            raise InputError("--add: empty; give a trick, or a setting such as packing.size=2")
        for key in {".".join(o.partition("=")[0].split(".")[:2]) for o in overrides}:
            if key.startswith("tricks.") and key in recipe.components:
                raise InputError(
                    f"--add {given}: {recipe.source} has {key} already; --drop {key} removes it from the base, and "
                    "--drop tricks removes all tricks"
                )
        with variant_errors(f"--add {given}"):
            variants.append(Variant(f"with-{_slug(given)}", given, True, recipe.changed(overrides)))
    return _check_different(variants)


def _key(name: str, tricks: Sequence[str]) -> str:
    """Return the recipe key for a value of --only: `tricks.r1` for the trick `r1`. A full key is returned unchanged."""
    is_key = name.partition(".")[0] in TOP_LEVEL and name not in tricks
    return name if is_key else f"tricks.{name}"


def _override(word: str) -> str:
    """Return the recipe override for one change given to --add.

    For example, `r1` becomes `tricks.r1={}`, and `r1.gamma=1` becomes `tricks.r1.gamma=1`.
    """
    key, equals, value = word.partition("=")
    full_key = key if key.partition(".")[0] in TOP_LEVEL else f"tricks.{key}"
    return f"{full_key}={value}" if equals else f"{full_key}={{}}"


def _slug(name: str) -> str:
    """Convert a name to a folder name. Characters that may be unsafe in a path are replaced with `_`."""
    return re.sub(r"[^\w.=-]+", "_", name)


def _check_unique(names: Sequence[str], flag: str) -> None:
    """Raise InputError if two of the names would become the same folder name.

    The error message contains `flag`, the command-line option that lists the names.
    """
    slugs = [_slug(name) for name in names]
    repeated = next((name for name, slug in zip(names, slugs, strict=True) if slugs.count(slug) > 1), None)
    if repeated is not None:
        raise InputError(f"{flag} {repeated}: given twice; --seeds sets the number of runs of each variant")


def _check_different(variants: list[Variant]) -> list[Variant]:
    """Return the variants, or raise InputError if two of them have the same recipe."""
    first: dict[str, Variant] = {}
    for variant in variants:
        # Compare the TOML texts, because two dictionaries are equal even if their tricks are in a different order.
        same = first.setdefault(variant.recipe.to_toml(), variant)
        if same is variants[0] and variant is not same:
            raise InputError(
                f"{variant.trick}: {variant.recipe.source} is the same with and without it; leave it out of the study"
            )
        if same is not variant:
            raise InputError(f"{variant.trick}: the same as {same.trick}; leave one of them out of the study")
    return variants


@contextmanager
def variant_errors(variant: str, help_text: str = "") -> Iterator[None]:
    """Add the variant's name and `help_text` to the message of each InputError that the `with` block raises."""
    try:
        yield
    except InputError as error:
        problems = [f"{p.key}: {p.message}" for p in error.problems] if isinstance(error, RecipeError) else [str(error)]
        suffix = f"; {help_text}" if help_text else ""
        raise InputError("\n".join(f"{variant}: {problem}{suffix}" for problem in problems)) from error
