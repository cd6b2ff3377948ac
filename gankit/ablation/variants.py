"""The recipes of a study: one to compare with, and for each trick one that differs by it alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gankit.errors import InputError, RecipeError
from gankit.plugin.hooks import hooks_of
from gankit.recipe.recipe import TOP_LEVEL, Recipe
from gankit.suggest import nearest

WATCHING = ("check_recipe", "on_start", "on_log", "on_grid", "on_stop", "draw_samples", "compute_metrics")
"""Hook points that take no part in the game."""

BASE = "recipe"
"""The folder of the runs that all others are compared with."""


@dataclass(frozen=True)
class Variant:
    """A recipe of a study."""

    folder: str
    """Its runs lie there, and its recipe beside it as FOLDER.toml."""

    trick: str
    """What it has or lacks, as the table names it; empty for the one that the others are compared with."""

    adds: bool
    """Whether it has the trick, and the one that it is compared with does not."""

    recipe: Recipe = field(compare=False)

    @property
    def name(self) -> str:
        """`recipe`, `without r1`, `with packing.size=2`."""
        return " ".join([self.folder.partition("-")[0], self.trick]) if self.trick else self.folder


def drop_each(recipe: Recipe, only: Sequence[str] = ()) -> list[Variant]:
    """The recipe, and the recipe with each of its tricks left out.

    Args:
        recipe: it is as it is meant to be used.
        only: what to leave out, one at a time: tricks, or keys that may be left out of a recipe, such as
            `normalization.discriminator`. Empty for every trick.

    Raises InputError when there is nothing to leave out, or the recipe cannot be without it.
    """
    tricks = [key.removeprefix("tricks.") for key in recipe.components if key.startswith("tricks.")]
    watching = read_only_tricks(recipe)
    acting = [name for name in tricks if name not in watching]
    if not acting and not only:
        besides = f" but {', '.join(watching)}, which only watch or measure" if watching else ""
        way_out = "--add TRICK compares it with one that has it"
        raise InputError(f"{recipe.source}: the recipe has no tricks to leave out{besides}; {way_out}")
    keys = [_key(name, tricks) for name in only] or [f"tricks.{name}" for name in acting]
    names = [key.removeprefix("tricks.") for key in keys]
    _once(names, "--only")
    variants = [Variant(BASE, "", False, recipe)]
    for name, key in zip(names, keys, strict=True):
        if key.startswith("tricks.") and key not in recipe.components:
            raise InputError(
                f"--only {name}: {recipe.source} has no such trick; "
                f"{nearest(name, tricks)}it has {', '.join(tricks) or 'none'}"
            )
        with naming_variant(f"without {name}", "--only names the tricks to leave out"):
            variants.append(Variant(f"without-{_slug(name)}", name, False, recipe.changed(drop=[key])))
    return _different(variants)


def read_only_tricks(recipe: Recipe) -> list[str]:
    """Its tricks that cannot have an effect, such as loggers; and those that measure, since without them there would be
    nothing to compare."""
    return [
        key.removeprefix("tricks.")
        for key, part in recipe.components.items()
        if key.startswith("tricks.") and (part.plugin_class.read_only or {*hooks_of(part.plugin_class)} <= {*WATCHING})
    ]


def add_each(recipe: Recipe, added: Sequence[str]) -> list[Variant]:
    """The recipe, and the recipe with each of some tricks.

    Args:
        recipe: it is plain, or has what all are to have.
        added: for each variant the words that make it: a trick, a setting of one (`packing.size=2`) or of anything else
            in a recipe (`loss=hinge`), several with blanks between them.

    Raises InputError when a trick is not there, is in the recipe already, or does not fit it.
    """
    _once(added, "--add")
    variants = [Variant(BASE, "", True, recipe)]
    for given in added:
        overrides = [_override(word) for word in given.split()]
        if not overrides:
            raise InputError("--add: empty; name a trick, or a setting such as packing.size=2")
        for key in {".".join(o.partition("=")[0].split(".")[:2]) for o in overrides}:
            if key.startswith("tricks.") and key in recipe.components:
                raise InputError(
                    f"--add {given}: {recipe.source} has {key} already; --drop {key} leaves it out of what is compared "
                    "with, and --drop tricks all of them"
                )
        with naming_variant(f"--add {given}"):
            variants.append(Variant(f"with-{_slug(given)}", given, True, recipe.changed(overrides)))
    return _different(variants)


def _key(name: str, tricks: Sequence[str]) -> str:
    """Of a recipe, what --only names: a trick, or something else that may be left out."""
    is_a_key = name.partition(".")[0] in TOP_LEVEL and name not in tricks
    return name if is_a_key else f"tricks.{name}"


def _override(word: str) -> str:
    """A word of --add as an override: `r1` is `tricks.r1={}`, `r1.gamma=1` is `tricks.r1.gamma=1`."""
    key, equals, value = word.partition("=")
    place = key if key.partition(".")[0] in TOP_LEVEL else f"tricks.{key}"
    return f"{place}={value}" if equals else f"{place}={{}}"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name)


def _once(names: Sequence[str], flag: str) -> None:
    twice = next((name for name in names if [_slug(n) for n in names].count(_slug(name)) > 1), None)
    if twice is not None:
        raise InputError(f"{flag} {twice}: named twice; once is enough, --seeds says how often each is played")


def _different(variants: list[Variant]) -> list[Variant]:
    """Raises InputError for a variant that is the recipe itself, or that is there twice."""
    first: dict[str, Variant] = {}
    for variant in variants:
        # As text, in which tricks have an order.
        same = first.setdefault(variant.recipe.to_toml(), variant)
        if same is variants[0] and variant is not same:
            raise InputError(
                f"{variant.trick}: {variant.recipe.source} is the same with it and without; leave it out of the study"
            )
        if same is not variant:
            raise InputError(f"{variant.trick}: the same as {same.trick}; leave one of them out of the study")
    return variants


@contextmanager
def naming_variant(what: str, way_out: str = "") -> Iterator[None]:
    """Puts in front of what is wrong where it is wrong, and behind it what may help."""
    try:
        yield
    except InputError as error:
        problems = [f"{p.key}: {p.message}" for p in error.problems] if isinstance(error, RecipeError) else [str(error)]
        more = f"; {way_out}" if way_out else ""
        raise InputError("\n".join(f"{what}: {problem}{more}" for problem in problems)) from error
