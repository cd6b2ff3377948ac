"""What a recipe requires: distributions, in versions, and what is said when they are not there."""

from dataclasses import replace

import pytest
from packaging.requirements import Requirement

from gankit import InputError, Plugin, Recipe
from gankit.plugin.registry import Entry, Registry
from gankit.recipe.toml import read_toml
from gankit.sampling.sampler import Sampler
from gankit.training.launch import resume, start
from tests.gankit.conftest import Told


def refusal(recipe, **changes):
    with pytest.raises(InputError) as error:
        recipe(**changes)
    return str(error.value)


def test_what_is_there_is_fine(toy_recipe):
    recipe = toy_recipe(requires=["toys >= 0.9", "torch", "click >= 8, < 100"])
    assert recipe.requires == ("toys >= 0.9", "torch", "click >= 8, < 100")


def test_what_is_missing_or_too_old_says_how_to_get_it(toy_recipe):
    said = refusal(toy_recipe, requires=["gankit-lecam >= 0.2", "toys >= 2"])
    assert "requires: gankit-lecam is not installed; try `pip install 'gankit-lecam >= 0.2'`" in said
    assert "requires: toys >= 2 is wanted, and 1.0 is installed; try `pip install 'toys >= 2'`" in said


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
    assert "requires: own is not installed; try `pip install 'own >= 1.0'`" in str(error.value)
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


@pytest.mark.parametrize("version", ["2.0a1.dev3+g1234abc", "2.13.0+cpu", "unknown", ""])
def test_whatever_version_is_installed_can_be_required_again(toy_recipe, shelf, version):
    class Lecam(Plugin):
        """From elsewhere."""

        name = "Lecam"

    shelf.add(Lecam)
    entries = [replace(e, version=version) if e.distribution == "own" else e for e in shelf.registry.entries]
    shelf.registry = Registry(entries)
    recipe = toy_recipe(tricks={"Lecam": {}})
    assert Requirement(recipe.requires[-1]).name == "own"
    assert Recipe.from_dict(recipe.to_dict()).requires == recipe.requires


def test_a_requirement_for_other_systems_asks_nothing_here(toy_recipe):
    toy_recipe(requires=['no-such-thing; sys_platform == "plan9"', 'toys >= 1; python_version >= "3"'])
    assert "no-such-thing is not installed" in refusal(toy_recipe, requires=['no-such-thing; python_version >= "3"'])


def test_an_api_version_that_is_no_number_is_refused(toy_recipe, shelf):
    class Worded(Plugin):
        """Of a version in words."""

        name, api_version = "Worded", "2"

    shelf.add(Worded)
    assert "its api_version is '2'; a whole number is wanted" in refusal(toy_recipe, tricks={"Worded": {}})


def clashing(shelf):
    """The shelf, with a stranger's plugin of the same kind and name as the generator."""
    own = next(e for e in shelf.registry.entries if e.label == "generator.G")
    shelf.registry = Registry([*shelf.registry.entries, replace(own, distribution="stranger", value="nowhere:G")])


def test_a_clash_that_came_later_does_not_stop_what_was_made_before(toy_recipe, shelf, tmp_path):
    told = Told()
    directory, _ = start(toy_recipe(), tmp_path / "run", told, lambda sentence: None)
    directory.release()
    clashing(shelf)
    with pytest.raises(InputError, match="2 distributions offer a generator called 'G'"):
        toy_recipe()
    assert len(Sampler.load(directory.generator_file).sample(2)[0]) == 2
    _, outcome = resume(directory.path, ["train.iterations=7"], told, lambda sentence: None)
    assert outcome.iterations == 7


def test_a_generator_whose_plugin_is_gone_says_what_it_came_with(toy_recipe, shelf, tmp_path):
    directory, _ = start(toy_recipe(), tmp_path / "run", Told(), lambda sentence: None)
    shelf.registry = Registry([])
    with pytest.raises(InputError, match=r"it came with toys 1\.0, which is not installed"):
        Sampler.load(directory.generator_file)
