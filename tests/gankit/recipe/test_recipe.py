"""Tests of validated recipes: defaults, round trip, overrides, and messages of wrong recipes."""

import tomllib
from pathlib import Path

import pytest
import tomli_w
from pydantic import Field, field_validator

from gankit import Dataset, InputError, Plugin, Recipe, Settings, hookimpl
from gankit.errors import RecipeError
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


def problems_of(raw, source="toy.toml"):
    """Return the (key, message) of all problems of a wrong recipe."""
    with pytest.raises(RecipeError) as error:
        Recipe.from_dict(raw, source=source)
    assert str(error.value).splitlines() == [f"{source}: {p.key}: {p.message}" for p in error.value.problems]
    return [(p.key, p.message) for p in error.value.problems]


def test_to_dict_holds_all_defaults(toy_recipe):
    resolved = toy_recipe().to_dict()
    assert resolved["train"]["discriminator_steps"] == 1
    assert resolved["output"]["keep_checkpoints"] == 3
    assert resolved["optimizer"]["generator"] == {"use": "Adam", "lr": 0.01, "betas": [0.5, 0.999]}
    assert resolved["seed"] == 0


def test_empty_slots_are_filled_with_the_default_plugins(shelf, toys, toy_dict):
    for slot, name, toy in [
        ("latent", "normal", toys.Normal),
        ("loss", "non_saturating", toys.Loss),
        ("lr_schedule", "constant", toys.Constant),
        ("normalization", "none", toys.AsItIs),
        ("optimizer", "adam", toys.Adam),
    ]:
        shelf.add(toy, name, slot)
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
    }
    first = toy_recipe(tricks=tricks, seed=7)
    again = Recipe.from_dict(first.to_dict(), source=first.source)
    assert again == first
    assert Recipe.from_dict(tomllib.loads(first.to_toml()), source=first.source) == first
    assert list(again.components)[-3:] == ["tricks.b", "tricks.a", "tricks.c.d"]


def test_the_resolved_recipe_trains_the_identical_run(train_toy):
    first = train_toy("first", tricks={"w": {"use": "Wander"}})
    raw = tomllib.loads((first.path / "recipe.toml").read_text())
    assert train_toy("second", **raw).generator == first.generator


def test_tricks_keep_the_order_of_the_file(shelf, tmp_path, toy_dict):
    shelf.add(Many)
    text = tomli_w.dumps(toy_dict()).replace("[tricks]\n", "")
    text += '[tricks.z]\nuse = "Wander"\n[tricks.a]\nuse = "Many"\nneeded = 1\n[tricks.Wander]\n'
    path = tmp_path / "r.toml"
    path.write_text(text)
    recipe = Recipe.load(path)
    assert list(recipe.components)[-3:] == ["tricks.z", "tricks.a", "tricks.Wander"]
    assert recipe.components["tricks.Wander"].plugin_class.name == "wander"


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


def test_a_number_with_thousands_of_digits_is_an_input_error(shelf, toy_file):
    for digits in ("9" * 5000, "0x" + "f" * 5000):
        with pytest.raises(InputError):
            Recipe.load(toy_file(), [f"train.iterations={digits}"])


def test_drops_are_applied_before_overrides(shelf, toy_file):
    path = toy_file(tricks={"w": {"use": "Wander", "pace": 0.5}})
    recipe = Recipe.load(path, ["tricks.w.use=Wander", "train.iterations=9"], ["tricks.w"])
    assert recipe.components["tricks.w"].config.pace == 0.1
    assert recipe.train.iterations == 9
    assert "tricks.w" not in Recipe.load(path, drop=["tricks.w"]).components
    assert Recipe.load(path, drop=["tricks.w.pace"]).components["tricks.w"].config.pace == 0.1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tricks.wonder", "--drop tricks.wonder: {path} has no such key; did you mean 'tricks.w'? it has "),
        ("", "has no such key"),
        ("train.iterations.x", "has no such key"),
        ("trian", "did you mean 'train'?"),
    ],
)
def test_dropping_an_unknown_key_is_an_error(shelf, toy_file, key, message):
    path = toy_file(tricks={"w": {"use": "Wander"}})
    with pytest.raises(InputError) as error:
        Recipe.load(path, drop=[key])
    assert message.format(path=path) in str(error.value)


def at(path, value):
    """Return a function that sets a value of a recipe, or deletes it if the value is `...`."""

    def change(raw):
        *tables, last = path.split("/")
        for table in tables:
            raw = raw.setdefault(table, {})
        if value is ...:
            del raw[last]
        else:
            raw[last] = value

    return change


BROKEN = [
    (
        at("trian", {}),
        "trian",
        "unknown key; did you mean 'train'? there are name, seed, requires, train, output, evaluation, ",
    ),
    (at("qqq", 1), "qqq", "unknown key; there are name, "),
    (at("name", "a/b"), "name", "'a/b' given; expected up to 100 letters, digits, "),
    (at("name", ""), "name", "'' given"),
    (at("name", ".."), "name", "'..' given"),
    (at("name", 7), "name", "7 given"),
    (at("name", "x" * 101), "name", "up to 100"),
    (at("seed", -1), "seed", "-1 given; expected an integer from 0 to 2^63 - 1"),
    (at("seed", 2**63), "seed", "expected an integer from 0 to 2^63 - 1"),
    (at("seed", 1.0), "seed", "1.0 given; expected an integer"),
    (at("seed", True), "seed", "True given; expected an integer"),
    (at("train", 3), "train", "3 given; expected a table: [train]"),
    (at("train/iterations", 0), "train.iterations", "0 given; input should be greater than or equal to 1"),
    (at("train/iterations", "100"), "train.iterations", "'100' given; input should be a valid integer"),
    (at("train/iterations", 1.5), "train.iterations", "1.5 given; input should be a valid integer"),
    (at("train/iteration", 5), "train.iteration", "unknown key; did you mean 'iterations'? there are iterations, "),
    (at("train/precision", "fp16"), "train.precision", "'fp16' given; input should be 'fp32', 'bf16' or 'auto'"),
    (at("train/channels_last", 1), "train.channels_last", "1 given; input should be a valid boolean"),
    (at("train/accumulate", 3), "train.accumulate", "3 given; it must divide train.batch_size = 8"),
    (at("train/device", 0), "train.device", "0 given; input should be a valid string"),
    (at("output/keep_checkpoints", 0), "output.keep_checkpoints", "0 given; input should be greater"),
    (at("output/directory", 1), "output.directory", "1 given"),
    (at("output/log_evry", 1), "output.log_evry", "did you mean 'log_every'?"),
    (at("data", ...), "data", 'missing; fill the slot with [data] use = "NAME", one of: Blobs'),
    (at("generator", ...), "generator", 'missing; fill the slot with [generator] use = "NAME", one of: G'),
    (at("discriminator", 4), "discriminator", "4 given; expected the name of a plugin or a table"),
    (at("data/use", ...), "data.use", "None given; expected the name of a data plugin"),
    (at("data/use", ""), "data.use", "'' given; expected the name of a data plugin"),
    (at("data/use", ["Blobs"]), "data.use", "['Blobs'] given; expected the name of a data plugin"),
    (at("data/use", "Blob"), "data.use", "no data called 'Blob' is installed; did you mean 'Blobs'? installed: Blobs"),
    (
        at("data/use", "Normal"),
        "data.use",
        "'Normal' is a plugin for latent, not for data (write latent=Normal); installed: Blobs",
    ),
    (at("data/use", "Blobs@nobody"), "data.use", "nobody is not installed; try `pip install nobody`"),
    (at("data/use", "./gone.py:X"), "data.use", "there is no file "),
    (at("data/use", "json:JSONEncoder"), "data.use", "json:JSONEncoder is not a subclass of gankit.Plugin"),
    (at("data/use", "gankit:Settings"), "data.use", "is not a subclass of gankit.Plugin"),
    (at("data/use", "gankit:Plugin"), "data.use", 'gankit:Plugin has no name; write name = "..." in the class'),
    (at("data/use", "gankit_toys:Wander"), "data.use", "is a plugin for trick, not for data"),
    (at("data/use", "gankit_toys:PlainG"), "data.use", "is not a subclass of gankit.Plugin"),
    (at("data/cuont", 4), "data.cuont", "unknown key; did you mean 'count'? there are count, channels, "),
    (at("data/count", -4), "data.count", "-4 given; input should be greater than or equal to 0"),
    (at("data/count", True), "data.count", "True given; input should be a valid integer"),
    (at("loss/x", 1), "loss.x", "unknown key; it has no settings"),
    (at("normalization", "AsItIs"), "normalization", "'AsItIs' given; expected a table: [normalization]"),
    (at("normalization/use", "AsItIs"), "normalization.use", "unknown key; there are generator, discriminator"),
    (at("normalization/genrator", "AsItIs"), "normalization.genrator", "unknown key; did you mean 'generator'?"),
    (at("optimizer/generator/lr", 0), "optimizer.generator.lr", "0 given; input should be greater than 0"),
    (at("optimizer/generator/lr", float("nan")), "optimizer.generator.lr", "should be a finite number"),
    (at("optimizer/generator/betas", [0.5]), "optimizer.generator.betas.1", "missing"),
    (at("optimizer/generator/betas", 0.5), "optimizer.generator.betas", "0.5 given; input should be a valid"),
    (at("tricks", []), "tricks", "[] given; expected a table: [tricks]"),
    (at("tricks/Wander", 1), "tricks.Wander", "1 given; expected a table: [tricks.Wander]"),
    (at("tricks/Wonder", {}), "tricks.Wonder.use", "no trick called 'Wonder' is installed; did you mean 'Wander'?"),
    (at("tricks/", {"use": "Wander"}), "tricks.", "the name of a trick must not be empty or contain '/'"),
    (at("tricks/m", {"use": "Many"}), "tricks.m.needed", "missing; it has no default: a required number"),
    (at("tricks/m", {"use": "Many", "needed": 1, "sizes": [13]}), "tricks.m.sizes", "thirteen is not allowed; use"),
    (at("tricks/m", {"use": "Many", "needed": 1, "sizes": [1, "x"]}), "tricks.m.sizes.1", "'x' given; input should"),
    (at("tricks/m", {"use": "Many", "needed": 1, "share": 2}), "tricks.m.share", "less than or equal to 1"),
    (at("tricks/m", {"use": "Many", "needed": 1, "words": {"a": "b"}}), "tricks.m.words.a", "'b' given; input should"),
]


@pytest.mark.parametrize(("change", "key", "message"), BROKEN, ids=[f"{n}-{b[1]}" for n, b in enumerate(BROKEN)])
def test_messages_of_wrong_recipes(shelf, toy_dict, change, key, message):
    shelf.add(Many)
    raw = toy_dict()
    change(raw)
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


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"train": {"device": "gpu"}}, "train.device", "'gpu' cannot be used here"),
        ({"train": {"device": "cuda:99"}}, "train.device", "cpu always can"),
        ({"train": {"device": "meta"}}, "train.device", "cpu always can"),
        ({"train": {"device": ""}}, "train.device", "'' cannot be used here"),
        (
            {"train": {"class_balanced": True, "batch_size": 9}},
            "train.batch_size",
            "it must be a multiple of 2: 8 or 10, for instance",
        ),
        (
            {"train": {"class_balanced": True, "batch_size": 4, "accumulate": 4}},
            "train.batch_size",
            "must be a multiple of 8: 8, for instance",
        ),
        (
            {"train": {"class_balanced": True}, "data": {"classes": 0}},
            "train.class_balanced",
            "the images have no classes",
        ),
        ({"loss": {"use": "Reporter"}}, "loss", "no plugin provides a loss for the generator"),
        ({"latent": {"use": "Nothing"}}, "latent", "'nothing' does not implement sample_latent"),
        ({"generator": {"use": "NoG"}}, "generator", "no plugin provides `build_generator`"),
        ({"tricks": {"a": {"use": "SecondData"}}}, "data", "data and tricks.a provide `load_data`"),
        ({"tricks": {"a": {"use": "SecondZ"}}}, "recipe", "latent and tricks.a implement `sample_latent`"),
        ({"tricks": {"a": {"use": "Misspelt"}}}, "tricks.a", "did you mean 'before_d_step'?"),
        ({"tricks": {"a": {"use": "Picky"}}}, "tricks.a", "not this recipe"),
        ({"optimizer": {"generator": {"use": "BadOptimizer"}}}, "optimizer.generator", "no such optimizer"),
    ],
)
def test_errors_of_the_assembly(shelf, toy_recipe, changes, key, message):
    class Reporter(Plugin):
        name, kind = "silent", "loss"

    class Nothing(Plugin):
        name, kind = "nothing", "latent"

    class NoG(Plugin):
        name, kind = "no_g", "generator"

    class SecondData(Plugin):
        name = "second_data"

        @hookimpl
        def load_data(self):
            return Dataset(1, 8, (), lambda: None)

    class SecondZ(Plugin):
        name = "second_z"

        @hookimpl
        def sample_latent(self, count):
            raise AssertionError

    class Misspelt(Plugin):
        name = "misspelt"

        @hookimpl
        def before_d_stp(self):
            pass

    class Picky(Plugin):
        name = "picky"

        @hookimpl
        def check_recipe(self):
            raise ValueError("not this recipe")

    class BadOptimizer(Plugin):
        name, kind = "bad", "optimizer"

        @hookimpl
        def build_optimizer(self):
            raise ValueError("no such optimizer")

    for plugin in (Reporter, Nothing, NoG, SecondData, SecondZ, Misspelt, Picky, BadOptimizer):
        shelf.add(plugin)
    recipe = toy_recipe(**changes)
    with pytest.raises(InputError) as error:
        assemble(recipe)
    assert f"{key}: " in str(error.value)
    assert message in str(error.value)
