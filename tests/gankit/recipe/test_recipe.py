"""Tests of validated recipes: defaults, round trip, overrides, and messages of wrong recipes."""

import tomllib
from pathlib import Path

import pytest
import torch
from pydantic import Field, field_validator

from gankit import Dataset, InputError, Plugin, Recipe, Settings, hookimpl
from gankit.errors import RecipeError
from gankit.recipe.bundled import bundled_recipe
from gankit.training.assembly import assemble


class Many(Plugin):
    """Plugin with settings of every type."""

    name = "many"

    class Config(Settings):
        share: float = Field(0.5, ge=0, le=1, description="a share")
        sizes: tuple[int, ...] = Field((1, 2), description="some sizes")
        folder: Path | None = Field(None, description="a folder")
        words: dict[str, int] = Field({}, description="numbers by name")
        needed: int = Field(description="a required number")

        @field_validator("sizes")
        @classmethod
        def not_thirteen(cls, sizes):
            if 13 in sizes:
                raise ValueError("Thirteen is not allowed; use 12 or 14")
            return sizes


def problems_of(raw):
    """Return the (key, message) of all problems of a wrong recipe."""
    with pytest.raises(RecipeError) as error:
        Recipe.from_dict(raw, source="toy.toml")
    assert str(error.value).splitlines() == [f"toy.toml: {p.key}: {p.message}" for p in error.value.problems]
    return [(p.key, p.message) for p in error.value.problems]


def test_the_resolved_recipe_has_all_defaults_and_trains_the_identical_run(train_toy):
    first = train_toy("first", tricks={"w": {"use": "Wander"}})
    raw = tomllib.loads((first.path / "recipe.toml").read_text())
    assert (raw["train"]["discriminator_steps"], raw["output"]["keep_checkpoints"], raw["seed"]) == (1, 3, 0)
    assert raw["optimizer"]["generator"] == {"use": "Adam", "lr": 0.01, "betas": [0.5, 0.999]}
    assert train_toy("second", **raw).generator == first.generator


def test_empty_slots_are_filled_with_the_default_plugins(shelf, toys, toy_dict):
    shelf.add(toys.Normal, "normal", "latent")
    shelf.add(toys.Loss, "non_saturating", "loss")
    shelf.add(toys.Constant, "constant", "lr_schedule")
    shelf.add(toys.AsItIs, "none", "normalization")
    shelf.add(toys.Adam, "adam", "optimizer")
    raw = {key: value for key, value in toy_dict().items() if key in ("data", "generator", "discriminator")}
    resolved = Recipe.from_dict(raw).to_dict()
    assert resolved["latent"] == {"use": "normal", "size": 4}
    assert resolved["normalization"] == {"generator": {"use": "none"}, "discriminator": {"use": "none"}}
    assert resolved["optimizer"]["discriminator"]["use"] == "adam"
    assert resolved["name"] == "recipe"


def test_resolved_recipe_round_trip(shelf, toy_recipe):
    shelf.add(Many)
    tricks = {
        "b": {"use": "Wander"},
        "a": {"use": "Many", "needed": 3, "share": 1, "sizes": [], "folder": "x/ü", "words": {"q.r": 1}},
        "c.d": {"use": "Wander", "pace": 1e-7},
        "Wander": {},
    }
    first = toy_recipe(tricks=tricks, seed=7)
    assert Recipe.from_dict(first.to_dict(), source=first.source) == first
    again = Recipe.from_dict(tomllib.loads(first.to_toml()), source=first.source)
    assert again == first
    assert list(again.components)[-4:] == ["tricks.b", "tricks.a", "tricks.c.d", "tricks.Wander"]


def test_queries_of_a_recipe(toy_recipe):
    recipe = toy_recipe(tricks={"first": {"use": "Wander"}})
    assert recipe.uses("wander")
    assert not recipe.uses("many")
    assert recipe.use_of("normalization.generator") == "toy_bn"
    assert recipe.use_of("tricks.second") is None
    assert recipe.plugin_class("normalization.generator").batch_coupled
    with pytest.raises(KeyError):
        recipe.plugin_class("tricks.second")


def test_paths_of_plugin_files_are_relative_to_the_recipe_that_names_them(toy_file, tmp_path, toys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "mine.py").write_bytes(Path(toys.__file__).read_bytes())
    toy_file("base.toml", loss={"use": "./mine.py:Loss"})
    child = tmp_path / "deep" / "child.toml"
    child.write_text('extends = "../base.toml"\n')
    assert Recipe.load(child).components["loss"].use == f"{tmp_path / 'mine.py'}:Loss"


@pytest.mark.parametrize("digits", ["9" * 5000, "0x" + "f" * 5000], ids=["decimal", "hexadecimal"])
def test_a_number_with_thousands_of_digits_is_an_input_error(toy_recipe, digits):
    with pytest.raises(InputError):
        toy_recipe().changed([f"train.iterations={digits}"])


def test_drops_are_applied_before_overrides(shelf, toy_file):
    path = toy_file(tricks={"w": {"use": "Wander", "pace": 0.5}})
    recipe = Recipe.load(path, ["tricks.w.use=Wander", "train.iterations=9"], ["tricks.w"])
    assert recipe.components["tricks.w"].config.pace == 0.1
    assert recipe.train.iterations == 9
    assert "tricks.w" not in Recipe.load(path, drop=["tricks.w"]).components
    assert Recipe.load(path, drop=["tricks.w.pace"]).components["tricks.w"].config.pace == 0.1
    for key in ("", "train.iterations.x", "tricks.wonder"):
        with pytest.raises(InputError) as error:
            Recipe.load(path, drop=[key])
        assert f"{path} has no key {key!r} to drop; " in str(error.value)
    assert "; did you mean 'tricks.w'? it has " in str(error.value)


# Path of a wrong value, the value (`...` for a missing one), and the key and the message of the error.
BROKEN = [
    ("trian", {}, "trian", "unknown key; did you mean 'train'? there are name, seed, requires, train, output, "),
    ("qqq", 1, "qqq", "unknown key; there are name, "),
    ("name", "a/b", "name", "'a/b' given; expected up to 100 letters, digits, "),
    ("name", "", "name", "'' given"),
    ("name", "..", "name", "'..' given"),
    ("name", "x" * 101, "name", "up to 100"),
    ("name", 7, "name", "7 given"),
    ("seed", -1, "seed", "-1 given; expected an integer from 0 to 2^63 - 1"),
    ("seed", 2**63, "seed", "expected an integer from 0 to 2^63 - 1"),
    ("seed", True, "seed", "True given; expected an integer"),
    ("train", 3, "train", "3 given; expected a table: [train]"),
    ("train/iterations", 0, "train.iterations", "0 given; input should be greater than or equal to 1"),
    ("train/iterations", "100", "train.iterations", "'100' given; input should be a valid integer"),
    ("train/iteration", 5, "train.iteration", "unknown key; did you mean 'iterations'? there are iterations, "),
    ("train/precision", "fp16", "train.precision", "'fp16' given; input should be 'fp32', 'bf16' or 'auto'"),
    ("train/channels_last", 1, "train.channels_last", "1 given; input should be a valid boolean"),
    ("train/accumulate", 3, "train.accumulate", "3 given; it must divide train.batch_size = 8"),
    ("data", ..., "data", 'missing; fill the slot with [data] use = "NAME", one of: Blobs'),
    ("generator", ..., "generator", 'missing; fill the slot with [generator] use = "NAME", one of: G'),
    ("discriminator", 4, "discriminator", "4 given; expected the name of a plugin or a table"),
    ("data/use", ..., "data.use", "None given; expected the name of a data plugin"),
    ("data/use", ["Blobs"], "data.use", "['Blobs'] given; expected the name of a data plugin"),
    ("data/use", "Blob", "data.use", "no data called 'Blob' is installed; did you mean 'Blobs'? installed: Blobs"),
    ("data/use", "Normal", "data.use", "'Normal' is a plugin for latent, not for data (write latent=Normal); in"),
    ("data/use", "Blobs@nobody", "data.use", "nobody is not installed; try `pip install nobody`"),
    ("data/use", "json:JSONEncoder", "data.use", "json:JSONEncoder is not a subclass of gankit.Plugin"),
    ("data/use", "gankit:Plugin", "data.use", 'gankit:Plugin has no name; write name = "..." in the class'),
    ("data/use", "gankit_toys:Wander", "data.use", "is a plugin for trick, not for data"),
    ("data/cuont", 4, "data.cuont", "unknown key; did you mean 'count'? there are count, channels, "),
    ("data/count", True, "data.count", "True given; input should be a valid integer"),
    ("loss/x", 1, "loss.x", "unknown key; it has no settings"),
    ("normalization", "AsItIs", "normalization", "'AsItIs' given; expected a table: [normalization]"),
    ("normalization/use", "AsItIs", "normalization.use", "unknown key; there are generator, discriminator"),
    ("optimizer/generator/lr", 0, "optimizer.generator.lr", "0 given; input should be greater than 0"),
    ("optimizer/generator/lr", float("nan"), "optimizer.generator.lr", "should be a finite number"),
    ("optimizer/generator/betas", [0.5], "optimizer.generator.betas.1", "missing"),
    ("optimizer/generator/betas", 0.5, "optimizer.generator.betas", "0.5 given; input should be a valid"),
    ("tricks", [], "tricks", "[] given; expected a table: [tricks]"),
    ("tricks/Wander", 1, "tricks.Wander", "1 given; expected a table: [tricks.Wander]"),
    ("tricks/Wonder", {}, "tricks.Wonder.use", "no trick called 'Wonder' is installed; did you mean 'Wander'?"),
    ("tricks/", {"use": "Wander"}, "tricks.", "the name of a trick must not be empty or contain '/'"),
    ("tricks/m", {"use": "Many"}, "tricks.m.needed", "missing; it has no default: a required number"),
    ("tricks/m", {"use": "Many", "needed": 1, "sizes": [13]}, "tricks.m.sizes", "thirteen is not allowed; use"),
    ("tricks/m", {"use": "Many", "needed": 1, "sizes": [1, "x"]}, "tricks.m.sizes.1", "'x' given; input should"),
    ("tricks/m", {"use": "Many", "needed": 1, "share": 2}, "tricks.m.share", "less than or equal to 1"),
    ("tricks/m", {"use": "Many", "needed": 1, "words": {"a": "b"}}, "tricks.m.words.a", "'b' given; input should"),
]


@pytest.mark.parametrize(("path", "value", "key", "message"), BROKEN)
def test_messages_of_wrong_recipes(shelf, toy_dict, path, value, key, message):
    shelf.add(Many)
    raw = table = toy_dict()
    *tables, last = path.split("/")
    for name in tables:
        table = table.setdefault(name, {})
    table[last] = value
    if value is ...:
        del table[last]
    problems = problems_of(raw)
    assert problems[0][0] == key
    assert message in problems[0][1]
    # A wrong table causes no further problems elsewhere.
    assert all(k.startswith(key) for k, _ in problems)


def test_all_problems_are_reported_at_once(shelf, toy_dict):
    raw = toy_dict(seed=-1, nmae="x", train={"iterations": 0, "x": 1}, loss={"use": "los"}, tricks={"W": {}, "V": 3})
    del raw["data"]
    expected = "nmae seed train.iterations train.x data loss.use tricks.W.use tricks.V"
    assert {key for key, _ in problems_of(raw)} == set(expected.split())


def wrong(name, kind="trick", **hooks):
    """Return a plugin class with these hooks."""
    return type(name, (Plugin,), {"name": name.lower(), "kind": kind} | {k: hookimpl(v) for k, v in hooks.items()})


def refuse(self):
    raise ValueError("not here")


WRONG = [
    wrong("NoLoss", "loss"),
    wrong("NoLatent", "latent"),
    wrong("NoG", "generator"),
    wrong("SecondData", load_data=lambda self: Dataset((1, 8, 8), None, lambda: None)),
    wrong("SecondZ", sample_latent=lambda self, count: torch.zeros(count, 4)),
    wrong("Misspelt", before_d_stp=lambda self: None),
    wrong("Picky", check_recipe=refuse),
    wrong("BadOptimizer", "optimizer", build_optimizer=refuse),
]
CLASSES = {"class_balanced": True}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"train": {"device": "gpu"}}, "train.device", "'gpu' is no device; use auto"),
        ({"train": {"device": "cuda:99"}}, "train.device", "; use cpu"),
        ({"train": {"device": "meta"}}, "train.device", "; use cpu"),
        ({"train": {"device": ""}}, "train.device", "'' is no device; use auto"),
        ({"train": CLASSES | {"batch_size": 9}}, "train.batch_size", "must be a multiple of 2: 8 or 10, for instance"),
        ({"train": CLASSES | {"batch_size": 4, "accumulate": 4}}, "train.batch_size", "a multiple of 8: 8, for inst"),
        ({"train": CLASSES, "data": {"classes": 0}}, "train.class_balanced", "the images have no classes"),
        ({"loss": {"use": "NoLoss"}}, "loss", "no plugin provides a loss for the generator"),
        ({"latent": {"use": "NoLatent"}}, "latent", "'nolatent' does not implement sample_latent"),
        ({"generator": {"use": "NoG"}}, "generator", "no plugin provides `build_generator`"),
        ({"tricks": {"SecondData": {}}}, "data", "data and tricks.SecondData provide `load_data`"),
        ({"tricks": {"SecondZ": {}}}, "latent", "latent and tricks.SecondZ provide `sample_latent`"),
        ({"tricks": {"Misspelt": {}}}, "tricks.Misspelt", "did you mean 'before_d_step'?"),
        ({"tricks": {"Picky": {}}}, "tricks.Picky", "not here"),
        ({"optimizer": {"generator": {"use": "BadOptimizer"}}}, "optimizer.generator", "not here"),
    ],
)
def test_errors_of_the_assembly(shelf, toy_recipe, changes, key, message):
    for plugin in WRONG:
        shelf.add(plugin)
    recipe = toy_recipe(**changes)
    with pytest.raises(InputError) as error:
        assemble(recipe)
    assert f"{key}: " in str(error.value)
    assert message in str(error.value)


def test_messages_name_a_bundled_recipe_as_the_user_does():
    with pytest.raises(RecipeError, match=r"^igan_vn: train\.foo: unknown key"):
        Recipe.load(bundled_recipe("igan_vn"), ["train.foo=1"])
