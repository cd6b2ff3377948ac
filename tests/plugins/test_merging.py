"""Merged generators with the metrics that come with gankit."""

import pytest

from gankit import InputError, Recipe, train
from gankit.evaluation.merging import Score, chosen_weights, is_higher_better
from gankit.recipe.bundled import bundled_recipe

SETTINGS = ["train.iterations=2", "train.batch_size=8", "data.count=64", "output.directory=."]


def test_direction_of_a_metric():
    assert not is_higher_better("frechet_distance")
    with pytest.raises(InputError, match="no metric called 'nonsense'"):
        is_higher_better("nonsense")


def test_weights_of_an_ensemble_by_a_metric(tmp_path):
    recipe = bundled_recipe("attributes_bars")
    small = [*SETTINGS, "data.resolution=16", "generator.width=2", "discriminator.width=2"]
    paths = [train(Recipe.load(recipe, [*small, f"seed={seed}"]), out=tmp_path / str(seed)).path for seed in (0, 1)]
    changes = {"evaluation": {"count": 32}, "extractor": {"use": "pixels"}}
    score = Score(paths, "frechet_distance", None, changes, "cpu")
    weights, value = chosen_weights(lambda given: score.of(given, True), 2)
    assert sum(weights) == pytest.approx(1)
    assert value == min(score.of(given, True) for given in ((1, 0), (0, 1), weights))
