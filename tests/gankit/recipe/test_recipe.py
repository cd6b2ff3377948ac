"""Recipes: read, merged, overridden, refused in sentences, and written out again as they were."""

import copy
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, field_validator

from gankit import GankitError, InputError, Plugin, Recipe, Settings
from gankit.errors import RecipeError
from gankit.recipe.toml import merge, parse_overrides, read_toml
from gankit.training.assembly import assemble


class Many(Plugin):
    """Settings of every type."""

    name = "many"

    class Config(Settings):
        share: float = Field(0.5, ge=0, le=1, description="a share")
        sizes: tuple[int, ...] = Field((1, 2), description="some sizes")
        folder: Path | None = Field(None, description="a folder")
        words: dict[str, int] = Field({}, description="numbers by name")
        needed: int = Field(description="what must be given")

        @field_validator("sizes")
        @classmethod
        def not_thirteen(cls, sizes):
            if 13 in sizes:
                raise ValueError("Thirteen brings bad luck; take 12 or 14")
            return sizes


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def told(raw, source="toy.toml"):
    """Every (key, message) that a recipe is refused with."""
    with pytest.raises(RecipeError) as error:
        Recipe.from_dict(raw, source=source)
    assert str(error.value).splitlines() == [f"{source}: {p.key}: {p.message}" for p in error.value.problems]
    return [(p.key, p.message) for p in error.value.problems]


# What a recipe is


def test_every_default_is_written_out(toy_recipe):
    resolved = toy_recipe().to_dict()
    assert resolved["train"]["discriminator_steps"] == 1
    assert resolved["output"]["keep_checkpoints"] == 3
    assert resolved["optimizer"]["generator"] == {"use": "Adam", "lr": 0.01, "betas": [0.5, 0.999]}
    assert resolved["seed"] == 0


def test_slots_left_out_are_filled_by_name(shelf, toys, toy_dict):
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


def test_the_resolved_recipe_is_the_same_recipe(shelf, toy_recipe):
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
    assert list(again.parts)[-3:] == ["tricks.b", "tricks.a", "tricks.c.d"]


def test_the_resolved_recipe_trains_the_identical_run(play, toy_file, tmp_path, go_on):
    first = play("first", tricks={"w": {"use": "Wander"}})
    raw = tomllib.loads((first.path / "recipe.toml").read_text())
    assert play("second", **raw).generator == first.generator


def test_tricks_keep_the_order_of_the_file(shelf, tmp_path, toy_dict):
    shelf.add(Many)
    text = tomli_w.dumps(toy_dict()).replace("[tricks]\n", "")
    text += '[tricks.z]\nuse = "Wander"\n[tricks.a]\nuse = "Many"\nneeded = 1\n[tricks.Wander]\n'
    recipe = Recipe.load(written(tmp_path / "r.toml", text))
    assert list(recipe.components)[-3:] == ["tricks.z", "tricks.a", "tricks.Wander"]
    assert recipe.components["tricks.Wander"].plugin_class.name == "wander"


def test_what_plugins_may_ask_of_a_recipe(toy_recipe):
    recipe = toy_recipe(tricks={"first": {"use": "Wander"}})
    assert recipe.uses("wander")
    assert not recipe.uses("many")
    assert recipe.use_of("normalization.generator") == "toy_bn"
    assert recipe.use_of("tricks.second") is None
    assert recipe.plugin_class("normalization.generator").batch_coupled
    with pytest.raises(KeyError):
        recipe.plugin_class("tricks.second")


def test_a_plugins_file_is_relative_to_the_recipe_that_names_it(toy_file, tmp_path, toys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "mine.py").write_bytes(Path(toys.__file__).read_bytes())
    toy_file("base.toml", loss={"use": "./mine.py:Loss"})
    child = written(tmp_path / "deep" / "child.toml", 'extends = "../base.toml"\n')
    assert Recipe.load(child).parts["loss"].use == f"{tmp_path / 'mine.py'}:Loss"


# extends


def test_a_chain_of_bases_is_merged_from_the_bottom(tmp_path):
    written(tmp_path / "a.toml", 'seed = 1\n[train]\nbatch_size = 8\niterations = 1\n[tricks.x]\nuse = "p"\nq = 1\n')
    written(tmp_path / "b.toml", 'extends = "a.toml"\nseed = 2\n[train]\niterations = 2\n[tricks.x]\nr = 2\n')
    top = written(tmp_path / "c.toml", 'extends = "b.toml"\n[train]\niterations = 3\n[tricks.y]\n')
    assert read_toml(top) == {
        "seed": 2,
        "train": {"batch_size": 8, "iterations": 3},
        "tricks": {"x": {"use": "p", "q": 1, "r": 2}, "y": {}},
    }


@pytest.mark.parametrize("bases", [["a.toml"], ["b.toml", "a.toml"], ["b.toml", "c.toml", "b.toml"]])
def test_a_circle_of_bases_is_named(tmp_path, bases):
    names = ["a.toml", *dict.fromkeys(b for b in bases if b != "a.toml")]
    for name, base in zip(names, bases, strict=False):
        written(tmp_path / name, f'extends = "{base}"')
    with pytest.raises(RecipeError, match=r"extends: goes round in a circle: a\.toml -> "):
        read_toml(tmp_path / "a.toml")


def test_a_missing_base_names_the_recipe_that_wants_it(tmp_path):
    top = written(tmp_path / "a.toml", 'extends = "gone.toml"')
    with pytest.raises(RecipeError, match=r"a\.toml: extends: there is no recipe .*gone\.toml"):
        read_toml(top)


BELOW = {
    "loss": {"use": "hinge", "margin": 2},
    "optimizer": {"generator": {"use": "sgd", "lr": 1}, "discriminator": {"lr": 2}},
    "tricks": {"noise": {"sigma": 3}, "other": {"use": "noise", "sigma": 4, "more": {"use": "x", "y": 1}}},
    "generator": "plain",
}


@pytest.mark.parametrize(
    ("above", "where", "merged"),
    [
        ({"loss": {"margin": 5}}, "loss", {"use": "hinge", "margin": 5}),
        ({"loss": {"use": "hinge"}}, "loss", {"use": "hinge", "margin": 2}),
        ({"loss": {"use": "other"}}, "loss", {"use": "other"}),
        ({"loss": "other"}, "loss", {"use": "other"}),
        ({"loss": "hinge"}, "loss", {"use": "hinge", "margin": 2}),
        ({"optimizer": {"generator": {"use": "adam"}}}, "optimizer.generator", {"use": "adam"}),
        # No `use` below means the default, which for an optimiser is adam.
        ({"optimizer": {"discriminator": {"use": "adam"}}}, "optimizer.discriminator", {"use": "adam", "lr": 2}),
        ({"optimizer": {"discriminator": {"use": "sgd"}}}, "optimizer.discriminator", {"use": "sgd"}),
        # ... and for a trick the name of its table.
        ({"tricks": {"noise": {"use": "noise"}}}, "tricks.noise", {"use": "noise", "sigma": 3}),
        ({"tricks": {"noise": {"use": "other"}}}, "tricks.noise", {"use": "other"}),
        # A setting that happens to be called `use` is only a setting.
        (
            {"tricks": {"other": {"more": {"use": "z"}}}},
            "tricks.other.more",
            {"use": "z", "y": 1},
        ),
        ({"tricks": {"other": {"more": "z"}}}, "tricks.other.more", "z"),
        ({"generator": {"width": 3}}, "generator", {"use": "plain", "width": 3}),
        ({"generator": {"use": "other"}}, "generator", {"use": "other"}),
        ({"train": {"seed": 1}}, "train", {"seed": 1}),
    ],
)
def test_a_changed_use_leaves_none_of_the_old_plugins_settings(above, where, merged):
    before = copy.deepcopy((BELOW, above))
    result = merge(BELOW, above)
    for key in where.split("."):
        result = result[key]
    assert result == merged
    assert (BELOW, above) == before


# Overrides


@pytest.mark.parametrize(
    ("overrides", "nested"),
    [
        (["train.iterations=100"], {"train": {"iterations": 100}}),
        (["a.b=1", "a.c=[1, 2.5]"], {"a": {"b": 1, "c": [1, 2.5]}}),
        (["loss.use=hinge"], {"loss": {"use": "hinge"}}),
        (["data.folder=/some/where else"], {"data": {"folder": "/some/where else"}}),
        (["a=true", "b=TRUE"], {"a": True, "b": "TRUE"}),
        (["a=1e-3", "b=-0.5", "c=1_000"], {"a": 1e-3, "b": -0.5, "c": 1000}),
        (["a='x=y'"], {"a": "x=y"}),
        (['a={b = 1, c = "d"}'], {"a": {"b": 1, "c": "d"}}),
        (["a=2026-11-20T00:00:00x"], {"a": "2026-11-20T00:00:00x"}),
        (["a=1", "a=2"], {"a": 2}),
        (["generator.use=./my.py:G"], {"generator": {"use": "./my.py:G"}}),
        (["device=cuda:1"], {"device": "cuda:1"}),
        (["loss=hinge", "loss.margin=2"], {"loss": {"use": "hinge", "margin": 2}}),
        (["loss.margin=2", "loss=hinge"], {"loss": {"margin": 2, "use": "hinge"}}),
        (
            ["normalization.generator=group_norm", "normalization.generator.groups=4"],
            {"normalization": {"generator": {"use": "group_norm", "groups": 4}}},
        ),
    ],
)
def test_overrides_are_toml_values_or_bare_words(overrides, nested):
    assert parse_overrides(overrides) == nested


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["iterations"], "'iterations': an override is key=value, for example train.iterations=100"),
        (["=3"], "an override is key=value"),
        (["a..b=3"], "an override is key=value"),
        (["a="], "'' is not a TOML value; quote strings: a='\"...\"'"),
        (["a=[1"], "'[1' is not a TOML value"),
        (["a={b"], "is not a TOML value"),
        (["a=" + "[" * 5000], "is not a TOML value"),
        (['a=x"y'], "is not a TOML value"),
        (["a=1", "a.b=2"], "another override makes 'a' a value, not a table"),
        (["a.b=2", "a=1"], "another override makes 'a' a table"),
    ],
)
def test_overrides_that_are_none_are_told_what_one_is(overrides, message):
    with pytest.raises(InputError) as error:
        parse_overrides(overrides)
    assert message in str(error.value)
    assert repr(overrides[-1]) in str(error.value)


def test_a_number_of_thousands_of_digits_is_not_a_traceback(shelf, toy_file):
    for digits in ("9" * 5000, "0x" + "f" * 5000):
        with pytest.raises(InputError):
            Recipe.load(toy_file(), [f"train.iterations={digits}"])


def test_overrides_act_after_drops(shelf, toy_file):
    path = toy_file(tricks={"w": {"use": "Wander", "pace": 0.5}})
    recipe = Recipe.load(path, ["tricks.w.use=Wander", "train.iterations=9"], ["tricks.w"])
    assert recipe.components["tricks.w"].config.pace == 0.1
    assert recipe.train.iterations == 9
    assert "tricks.w" not in Recipe.load(path, drop=["tricks.w"]).parts
    assert Recipe.load(path, drop=["tricks.w.pace"]).parts["tricks.w"].config.pace == 0.1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tricks.wonder", "--drop tricks.wonder: {path} has no such key; did you mean 'tricks.w'? it has "),
        ("", "has no such key"),
        ("train.iterations.x", "has no such key"),
        ("trian", "did you mean 'train'?"),
    ],
)
def test_what_is_not_there_cannot_be_dropped(shelf, toy_file, key, message):
    path = toy_file(tricks={"w": {"use": "Wander"}})
    with pytest.raises(InputError) as error:
        Recipe.load(path, drop=[key])
    assert message.format(path=path) in str(error.value)


# Broken recipes: the message names the key and the way out


def at(path, value):
    """The toy recipe with something at a path; `...` takes away what is there."""

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
    (at("name", "a/b"), "name", "'a/b' given; a name is up to 100 letters, digits, "),
    (at("name", ""), "name", "'' given"),
    (at("name", ".."), "name", "'..' given"),
    (at("name", 7), "name", "7 given"),
    (at("name", "x" * 101), "name", "up to 100"),
    (at("seed", -1), "seed", "-1 given; a whole number from 0 to 2^63 - 1 is wanted"),
    (at("seed", 2**63), "seed", "a whole number from 0 to 2^63 - 1 is wanted"),
    (at("seed", 1.0), "seed", "1.0 given; a whole number"),
    (at("seed", True), "seed", "True given; a whole number"),
    (at("train", 3), "train", "3 given; a table is wanted: [train]"),
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
    (at("discriminator", 4), "discriminator", "4 given; a plugin's name or a table is wanted"),
    (at("data/use", ...), "data.use", "None given; the name of a data plugin is wanted"),
    (at("data/use", ""), "data.use", "'' given; the name of a data plugin is wanted"),
    (at("data/use", ["Blobs"]), "data.use", "['Blobs'] given; the name of a data plugin is wanted"),
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
    (at("data/use", "gankit:Plugin"), "data.use", 'gankit:Plugin has no name: write name = "..." in the class'),
    (at("data/use", "gankit_toys:Wander"), "data.use", "is a plugin for trick, not for data"),
    (at("data/use", "gankit_toys:PlainG"), "data.use", "is not a subclass of gankit.Plugin"),
    (at("data/cuont", 4), "data.cuont", "unknown key; did you mean 'count'? there are count, channels, "),
    (at("data/count", -4), "data.count", "-4 given; input should be greater than or equal to 0"),
    (at("data/count", True), "data.count", "True given; input should be a valid integer"),
    (at("loss/x", 1), "loss.x", "unknown key; it has no settings"),
    (at("normalization", "AsItIs"), "normalization", "'AsItIs' given; a table is wanted: [normalization]"),
    (at("normalization/use", "AsItIs"), "normalization.use", "unknown key; there are generator, discriminator"),
    (at("normalization/genrator", "AsItIs"), "normalization.genrator", "unknown key; did you mean 'generator'?"),
    (at("optimizer/generator/lr", 0), "optimizer.generator.lr", "0 given; input should be greater than 0"),
    (at("optimizer/generator/lr", float("nan")), "optimizer.generator.lr", "should be a finite number"),
    (at("optimizer/generator/betas", [0.5]), "optimizer.generator.betas.1", "missing"),
    (at("optimizer/generator/betas", 0.5), "optimizer.generator.betas", "0.5 given; input should be a valid"),
    (at("tricks", []), "tricks", "[] given; a table is wanted: [tricks]"),
    (at("tricks/Wander", 1), "tricks.Wander", "1 given; a table is wanted: [tricks.Wander]"),
    (at("tricks/Wonder", {}), "tricks.Wonder.use", "no trick called 'Wonder' is installed; did you mean 'Wander'?"),
    (at("tricks/", {"use": "Wander"}), "tricks.", "a trick's name is not empty and holds no '/'"),
    (at("tricks/m", {"use": "Many"}), "tricks.m.needed", "missing, and it has no default: what must be given"),
    (at("tricks/m", {"use": "Many", "needed": 1, "sizes": [13]}), "tricks.m.sizes", "thirteen brings bad luck; take"),
    (at("tricks/m", {"use": "Many", "needed": 1, "sizes": [1, "x"]}), "tricks.m.sizes.1", "'x' given; input should"),
    (at("tricks/m", {"use": "Many", "needed": 1, "share": 2}), "tricks.m.share", "less than or equal to 1"),
    (at("tricks/m", {"use": "Many", "needed": 1, "words": {"a": "b"}}), "tricks.m.words.a", "'b' given; input should"),
]


@pytest.mark.parametrize(("change", "key", "message"), BROKEN, ids=[f"{n}-{b[1]}" for n, b in enumerate(BROKEN)])
def test_a_broken_recipe_names_the_key_and_the_way_out(shelf, toy_dict, change, key, message):
    shelf.add(Many)
    raw = toy_dict()
    change(raw)
    problems = told(raw)
    assert problems[0][0] == key
    assert message in problems[0][1]
    # What a broken table would have said is missing besides.
    assert all(k.startswith(key) for k, _ in problems)


def test_all_problems_are_told_at_once(shelf, toy_dict):
    raw = toy_dict(seed=-1, nmae="x", train={"iterations": 0, "x": 1}, loss={"use": "los"}, tricks={"W": {}, "V": 3})
    del raw["data"]
    assert {key for key, _ in told(raw)} == {
        "nmae",
        "seed",
        "train.iterations",
        "train.x",
        "data",
        "loss.use",
        "tricks.W.use",
        "tricks.V",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "TOML: Invalid value (at end of document)"),
        ("a = 1\na = 2\n", "TOML: Cannot overwrite a value (at line 2"),
        ("a = " + "[" * 5000, "TOML: "),
        ("a = " + "9" * 5000, "TOML: Exceeds the limit"),
        ("train." + ".".join("a" * 5000) + " = 1", "TOML: nested too deeply"),
        ("extends = 3", "extends: 3 given; it names one recipe file"),
        ('extends = "a\\u0000b"', "extends: "),
        ('extends = "."', "extends: "),
        (f'extends = "{"x" * 400}"', "extends: "),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(tmp_path, text, message):
    path = written(tmp_path / "r.toml", text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_what_is_no_recipe_file_is_refused(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path, message in [
        (tmp_path / "gone.toml", "there is no recipe"),
        (tmp_path, "is a folder; a recipe is a TOML file"),
        (tmp_path / "binary.toml", "is not text"),
        (tmp_path / "binary.toml" / "x.toml", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=message):
            Recipe.load(path)


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"train": {"device": "gpu"}}, "train.device", "'gpu' given; it cannot be used here"),
        ({"train": {"device": "cuda:99"}}, "train.device", "cpu always can"),
        ({"train": {"device": "meta"}}, "train.device", "cpu always can"),
        ({"train": {"device": ""}}, "train.device", "'' given"),
        (
            {"train": {"class_balanced": True, "batch_size": 9}},
            "train.batch_size",
            "9 given; with 2 classes in every batch alike it must be a multiple of 2: 8 or 10, for instance",
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
        ({"loss": {"use": "Reporter"}}, "loss", "no plugin of the recipe gives the generator anything to learn from"),
        ({"latent": {"use": "Nothing"}}, "latent", "'nothing' draws no z: it has no sample_latent"),
        ({"generator": {"use": "NoG"}}, "generator", "build_generator must be answered by one plugin, and is by none"),
        ({"tricks": {"a": {"use": "SecondData"}}}, "data", "load_data is answered by data and tricks.a; only one can"),
        ({"tricks": {"a": {"use": "SecondZ"}}}, "recipe", "sample_latent is implemented by latent and tricks.a"),
        ({"tricks": {"a": {"use": "Misspelt"}}}, "tricks.a", "did you mean 'before_d_step'?"),
        ({"tricks": {"a": {"use": "Picky"}}}, "tricks.a", "never, nowhere"),
        ({"optimizer": {"generator": {"use": "BadOptimizer"}}}, "optimizer.generator", "no such luck"),
    ],
)
def test_what_shows_only_when_plugins_are_asked_is_a_sentence_too(shelf, toy_recipe, changes, key, message):
    from gankit import Dataset, hookimpl

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
            raise ValueError("never, nowhere")

    class BadOptimizer(Plugin):
        name, kind = "bad", "optimizer"

        @hookimpl
        def build_optimizer(self):
            raise ValueError("no such luck")

    for plugin in (Reporter, Nothing, NoG, SecondData, SecondZ, Misspelt, Picky, BadOptimizer):
        shelf.add(plugin)
    recipe = toy_recipe(**changes)
    with pytest.raises(InputError) as error:
        assemble(recipe)
    assert f"{key}: " in str(error.value)
    assert message in str(error.value)


# Never a traceback


keys = st.sampled_from(
    [
        "use",
        "name",
        "seed",
        "train",
        "data",
        "tricks",
        "generator",
        "count",
        "lr",
        "",
        "a/b",
        "a.b",
        "q",
        "x:Y",
        "Wander",
    ]
) | st.text(max_size=8)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["Blobs", "Wander", "nobody", "x@y", "./x.py:Y", "json:dumps", ":", "\0.py:X", "cpu", "0", "meta"]),
    st.text(max_size=12),
    st.datetimes(),
    st.dates(),
    st.times(),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


def places(table, prefix=()):
    """Every key path of nested tables, and one new key in each of them."""
    found = [(*prefix, None)]
    for name, value in table.items():
        found.append((*prefix, name))
        if isinstance(value, dict):
            found += places(value, (*prefix, name))
    return found


def mutated(data, raw):
    for _ in range(data.draw(st.integers(1, 3))):
        *tables, last = data.draw(st.sampled_from(places(raw)))
        table = raw
        for name in tables:
            table = table[name]
        if last is not None and data.draw(st.booleans()):
            del table[last]
        else:
            table[last if last is not None else data.draw(keys)] = data.draw(values)
    return raw


often = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_small(recipe):
    """What would be assembled fits a test's memory."""
    numbers = [recipe.train.batch_size, recipe.output.sample_count]
    for part in recipe.components.values():
        numbers += [v for v in part.config.model_dump().values() if isinstance(v, int)]
    return max(numbers) < 500


@often
@given(data=st.data())
def test_mutated_tables_give_a_recipe_or_a_sentence(data, shelf, toy_dict):
    raw = mutated(data, toy_dict(tricks={"w": {"use": "Wander", "pace": 0.5}}))
    try:
        recipe = Recipe.from_dict(raw, source="toy.toml")
    except InputError as error:
        assert str(error).startswith("toy.toml: ")
        return
    assert Recipe.from_dict(tomllib.loads(recipe.to_toml()), source="toy.toml") == recipe
    if is_small(recipe):
        try:
            assemble(recipe)
        except InputError as error:
            assert "toy.toml: " in str(error) or "train.device" in str(error)


@often
@given(data=st.data())
def test_mutated_text_gives_a_recipe_or_a_sentence(data, shelf, toy_dict, tmp_path):
    text = tomli_w.dumps(toy_dict(tricks={"w": {"use": "Wander"}}))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from([0, 0, 1, 2, 10])))
        text = (
            text[:start] + data.draw(st.sampled_from(list("\"'=[]{}.,#\n\\0e-_x ")) | st.text(max_size=3)) + text[end:]
        )
    path = tmp_path / "r.toml"
    path.write_bytes(text.encode("utf-8", "replace"))
    try:
        Recipe.load(path)
    except InputError as error:
        assert str(path) in str(error)


@often
@given(
    overrides=st.lists(st.tuples(keys, st.text("=.,[]{}\"'#0x1e-\n t", max_size=8) | st.text(max_size=8)), max_size=3)
)
def test_any_override_gives_a_recipe_or_a_sentence(overrides, shelf, toy_file):
    try:
        Recipe.load(toy_file(), [f"{key}={value}" for key, value in overrides])
    except GankitError as error:
        assert error.exit_code == 2
        assert str(error)
