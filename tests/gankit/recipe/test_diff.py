"""Differences between recipes, and the run names made of them."""

import pytest

from gankit.recipe.diff import describe_setting, differing_keys, distinct_labels, flattened, training_settings

BASE = {
    "name": "ring",
    "seed": 0,
    "train": {"iterations": 10, "device": "cpu"},
    "output": {"directory": "runs", "sample_count": 4},
    "loss": {"use": "hinge"},
    "optimizer": {"generator": {"use": "adam", "lr": 0.1}},
    "tricks": {"r1": {"use": "r1", "gamma": 1.0, "every": 2}, "flip": {"use": "flip", "horizontal": True}},
}


def changed(**tables):
    return BASE | {k: BASE[k] | v if isinstance(v, dict) and k != "tricks" else v for k, v in tables.items()}


def tricks(first, *others, **settings):
    """Return the recipe with some tricks in this order, and with other settings of the first of them."""
    return changed(tricks={first: BASE["tricks"][first] | settings} | {name: BASE["tricks"][name] for name in others})


@pytest.mark.parametrize(
    ("other", "key", "before", "after"),
    [
        (changed(seed=3), "seed", "seed 0", "seed 3"),
        (changed(train={"iterations": 20}), "train.iterations", "train.iterations 10", "train.iterations 20"),
        (changed(loss={"use": "wasserstein"}), "loss.use", "loss hinge", "loss wasserstein"),
        (
            changed(optimizer={"generator": {"use": "sgd", "momentum": 0.9}}),
            *("optimizer.generator.use", "optimizer.generator adam", "optimizer.generator sgd"),
        ),
        (tricks("flip"), "tricks.r1.use", "tricks.r1", "no tricks.r1"),
        (tricks("r1", "flip", gamma=5.0), "tricks.r1.gamma", "tricks.r1.gamma 1.0", "tricks.r1.gamma 5.0"),
        (tricks("r1", "flip", use="./my.py:R1"), "tricks.r1.use", "tricks.r1", "tricks.r1 ./my.py:R1"),
        (tricks("flip", "r1"), "tricks", "tricks in order: r1, flip", "tricks in order: flip, r1"),
    ],
    ids=["seed", "core", "plugin", "settings of another plugin", "trick", "setting", "plugin of a file", "order"],
)
def test_changed_settings_are_the_differences(other, key, before, after):
    assert differing_keys([BASE, other]) == [key]
    assert describe_setting(BASE, key) == before
    assert describe_setting(other, key) == after


def test_settings_of_a_trick_are_compared_among_the_recipes_that_have_it():
    keys = differing_keys([tricks("flip"), tricks("r1", "flip"), changed(tricks={"r1": {"use": "r1", "gamma": 7.0}})])
    assert "tricks.r1.use" in keys
    assert "tricks.r1.gamma" in keys
    assert describe_setting(tricks("flip"), "tricks.r1.gamma") == ""
    assert "tricks.r1.gamma" not in differing_keys([tricks("flip"), tricks("r1", "flip")])


def test_labels_are_the_settings_that_most_others_do_not_share():
    recipes = [tricks("flip"), tricks("flip"), tricks("r1", "flip"), tricks("flip") | {"loss": {"use": "minimax"}}]
    assert distinct_labels(recipes, ["a", "b", "c", "d"]) == ["a", "b", "tricks.r1", "loss minimax"]
    assert distinct_labels(recipes[1:3], ["b", "c"]) == ["no tricks.r1", "tricks.r1"]
    assert distinct_labels([BASE, BASE], ["one", "two"]) == ["one", "two"]
    assert distinct_labels([BASE, BASE | {"name": "other"}], ["one", "two"]) == ["one", "two"]
    assert distinct_labels([changed(seed=seed) for seed in (1, 1, 2)], ["x", "y", "z"]) == ["x", "y", "seed 2"]


def test_repetitions_have_the_same_training_settings():
    train = {"device": "cuda", "keep_freed_memory": True, "deterministic": True}
    repetition = changed(seed=9, name="other", output={"sample_count": 9}, train=train)
    assert training_settings(repetition) == training_settings(BASE)
    others = [changed(train={"iterations": 11}), tricks("flip", "r1"), tricks("r1"), changed(loss={"use": "minimax"})]
    assert len({training_settings(recipe) for recipe in [BASE, *others]}) == 5


def test_flattened():
    assert flattened({"a": {"b": {"c": 1}, "d": [1]}, "e": {}}) == {"a.b.c": 1, "a.d": [1]}
