"""The option --vary: ranges, choices and refusals."""

import json

import pytest

from gankit import InputError, Recipe
from gankit.ablation.search_space import (
    Choices,
    Range,
    changes_of,
    checked_recipes,
    from_json,
    own_values,
    parse_variations,
    to_json,
)
from gankit.recipe.bundled import find_recipe
from gankit.recipe.diff import flattened

LR = "optimizer.generator.lr"


@pytest.fixture(scope="module")
def recipe():
    return Recipe.load(find_recipe("gaussian_ring"))


@pytest.mark.parametrize(
    ("option", "expected", "described"),
    [
        (f"{LR}=1e-5..1e-3", Range(LR, 1e-5, 1e-3, True), "1e-05 to 0.001, logarithmic"),
        (f"{LR}=0.001..0.0099", Range(LR, 0.001, 0.0099, False), "0.001 to 0.0099"),
        (f"{LR}=0.001..0.01", Range(LR, 0.001, 0.01, True), "0.001 to 0.01, logarithmic"),
        (f"{LR}=log:0.001..0.002", Range(LR, 0.001, 0.002, True), "0.001 to 0.002, logarithmic"),
        (f"{LR}=linear:1e-5..1e-3", Range(LR, 1e-5, 1e-3, False), "1e-05 to 0.001"),
        # The type of the setting decides between integers and other numbers.
        ("tricks.r1.gamma=2..10", Range("tricks.r1.gamma", 2.0, 10.0, False), "2 to 10"),
        ("tricks.r1.gamma=1..10", Range("tricks.r1.gamma", 1.0, 10.0, True), "1 to 10, logarithmic"),
        ("train.batch_size=8..512", Range("train.batch_size", 8, 512, True), "8 to 512, logarithmic"),
        ("train.discriminator_steps=1..5", Range("train.discriminator_steps", 1, 5, False), "1 to 5"),
        ("loss=hinge,wasserstein", ["hinge", "wasserstein"], "hinge or wasserstein"),
        ("train.batch_size=8, 16", ["8", "16"], "8 or 16"),
        (
            "optimizer.generator.betas=[0.5, 0.9],[0.0, 0.99]",
            ["[0.5, 0.9]", "[0.0, 0.99]"],
            "[0.5, 0.9] or [0.0, 0.99]",
        ),
        (
            'loss={use = "hinge"},least_squares',
            ['{use = "hinge"}', "least_squares"],
            '{use = "hinge"} or least_squares',
        ),
    ],
)
def test_variations(recipe, option, expected, described):
    (variation,) = parse_variations(recipe, [option])
    assert (list(variation.tables) if isinstance(variation, Choices) else variation) == expected
    assert variation.describe() == described
    assert from_json(json.loads(json.dumps(to_json(variation)))) == variation
    settings = [flattened(changed.to_dict()).get(variation.key) for _, changed in checked_recipes(recipe, [variation])]
    if isinstance(variation, Range):
        assert settings == [variation.low, variation.high]
        assert {type(one) for one in settings} == {type(variation.low), type(variation.high)} == {type(expected.low)}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("", "--vary: missing; give a setting"),
        (LR, f"--vary {LR}: expected KEY=LOW..HIGH or KEY=A,B,C"),
        ("=1..2", "expected KEY="),
        (f"{LR}=1e-3", "expected two numbers such as"),
        (f"{LR}=1e-3..", "expected two numbers such as"),
        (f"{LR}=a..b", "expected two numbers such as"),
        ("loss=hinge,", "or several values such as loss=A,B,C"),
        ("loss=hinge,hinge", "hinge is given twice"),
        (f"{LR}=1e-3..1e-5", "the first number must be smaller than the second"),
        (f"{LR}=1..1", "the first number must be smaller"),
        (f"{LR}=1e-5..1e999", "the first number must be smaller"),
        (f"{LR}=log:0..1", "a logarithmic range needs numbers above 0; write linear:0..1"),
        (f"{LR}=-1..1", rf"--vary {LR}=-1: {LR}: -1 given; input should be greater than 0"),
        ("train.batch_size=1.5..8", r"batch_size=1.5: train.batch_size: 1.5 given; input should be a valid integer"),
        ("optimizer.generator.rate=1..2", r"rate=1: optimizer.generator.rate: unknown key; .*lr"),
        ("loss=hinge,hing", r"loss=hing: loss.use: .*did you mean 'hinge'"),
        ("trian.batch_size=1..2", r"trian: unknown key; did you mean 'train'"),
        ("seed=0..9", "all trials use the seed of the recipe"),
        ("evaluation.count=100,200", "trials with different values of evaluation.count cannot be compared"),
        ("train.iterations=100..200", "trials with different values of train.iterations cannot be compared"),
        ("data.std=0.1..0.2", "cannot be compared"),
        ("train={iterations=5},{iterations=9}", "trials with different values of train.iterations cannot be compared"),
        ("evaluation={every=5},{every=9}", "trials with different values of evaluation.every cannot be compared"),
    ],
)
def test_refusals(recipe, option, message):
    with pytest.raises(InputError, match=message) as refusal:
        parse_variations(recipe, [option] if option else [])
    assert len(str(refusal.value).splitlines()) == 1


def test_a_key_is_varied_once(recipe):
    with pytest.raises(InputError, match=f"--vary {LR}: given twice"):
        parse_variations(recipe, [f"{LR}=1e-5..1e-3", f"{LR}=1e-3,1e-2"])


@pytest.mark.parametrize("plugin", ["optimizer.generator.use", "optimizer.generator"])
def test_a_plugin_and_its_settings_are_varied_in_any_order(recipe, plugin):
    options = [f"{LR}=1e-5..1e-3", f"{plugin}=adam,rmsprop"]
    for space in (parse_variations(recipe, options), parse_variations(recipe, options[::-1])):
        merged = recipe.merged(changes_of(space, {LR: 5e-4, plugin: "rmsprop"}))
        assert merged.use_of("optimizer.generator") == "rmsprop"
        assert merged.components["optimizer.generator"].config.lr == 5e-4


def test_values_of_the_recipe(recipe):
    lr = recipe.components["optimizer.generator"].config.lr
    space = parse_variations(recipe, [f"{LR}=1e-5..1e-1", "loss=hinge,non_saturating", "train.batch_size=16..512"])
    assert own_values(recipe, space) == {LR: lr, "loss": "non_saturating", "train.batch_size": recipe.train.batch_size}
    for option in (f"{LR}={lr * 2}..1", "loss=hinge,wasserstein", "tricks.r1.gamma=1..2"):
        assert own_values(recipe, parse_variations(recipe, [option])) is None
