"""What a recipe requires: distributions, in versions, and what is said when they are not there."""

import pytest

from gankit import InputError, Plugin, Recipe
from gankit.recipe import read_toml
from gankit.registry import Entry, Registry


def refusal(recipe, **changes):
    with pytest.raises(InputError) as error:
        recipe(**changes)
    return str(error.value)


def test_what_is_there_is_fine(toy_recipe):
    recipe = toy_recipe(requires=["toys >= 0.9", "torch", "click >= 8, < 100"])
    assert recipe.requires == ("toys >= 0.9", "torch", "click >= 8, < 100")


def test_what_is_missing_or_too_old_says_how_to_get_it(toy_recipe):
    said = refusal(toy_recipe, requires=["gankit-lecam >= 0.2", "toys >= 2"])
    assert "requires: gankit-lecam is not installed; `pip install 'gankit-lecam >= 0.2'` gets it" in said
    assert "requires: toys >= 2 is wanted, and 1.0 is installed; `pip install 'toys >= 2'` gets it" in said


@pytest.mark.parametrize("given", ["toys", 3, [3], ["not a requirement !"], [""]])
def test_what_is_no_list_of_requirements_is_a_sentence(toy_recipe, given):
    assert "requires: " in refusal(toy_recipe, requires=given)


def test_a_recipe_that_was_run_says_where_its_plugins_come_from(toy_recipe, shelf):
    class Lecam(Plugin):
        """From elsewhere."""

        name = "Lecam"

    shelf.add(Lecam)
    recipe = toy_recipe(tricks={"Lecam": {}})
    assert recipe.requires == ("toys >= 1.0", "own >= 1.0")
    # The same recipe where that distribution is not installed.
    elsewhere = Registry([e for e in shelf.registry.entries if e.distribution != "own"])
    with pytest.raises(InputError) as error:
        Recipe.from_dict(recipe.to_dict(), registry=elsewhere)
    assert "requires: own is not installed; `pip install 'own >= 1.0'` gets it" in str(error.value)
    assert "tricks.Lecam.use: no trick called 'Lecam' is installed" in str(error.value)


def test_requirements_of_a_base_are_kept(tmp_path):
    (tmp_path / "base.toml").write_text('requires = ["a >= 1", "b"]\n')
    (tmp_path / "top.toml").write_text('extends = "base.toml"\nrequires = ["c", "b"]\n')
    assert read_toml(tmp_path / "top.toml")["requires"] == ["a >= 1", "b", "c"]


def test_names_are_compared_as_pip_compares_them():
    registry = Registry([Entry("trick", "x", "Gankit_LeCam", "0.3", "m:C")])
    assert registry.version_of("gankit-lecam") == "0.3"
    assert registry.version_of("pluggy") is not None
    assert registry.version_of("no-such-distribution-anywhere") is None


def test_a_plugin_for_a_newer_gankit_is_refused(toy_recipe, shelf):
    class Future(Plugin):
        """For hook points that are not there yet."""

        name, api_version = "Future", 99

    shelf.add(Future)
    said = refusal(toy_recipe, tricks={"Future": {}})
    assert "tricks.Future.use: Future is written for version 99 of gankit's hook points" in said
    assert "`pip install -U gankit`" in said
    toy_recipe()
