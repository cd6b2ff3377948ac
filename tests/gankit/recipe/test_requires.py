"""Tests of `requires`: distributions, versions, and plugins that are missing or for another version."""

from dataclasses import replace

import pytest
from packaging.requirements import Requirement

from gankit import InputError, Plugin, Recipe
from gankit.plugin.registry import Entry, Registry
from gankit.recipe.toml import read_toml
from gankit.sampling.sampler import Sampler
from gankit.training.launch import resume, start
from tests.gankit.conftest import RecordingReporter


def message_of(recipe, **changes):
    with pytest.raises(InputError) as error:
        recipe(**changes)
    return str(error.value)


def test_installed_requirements_are_accepted(toy_recipe):
    recipe = toy_recipe(requires=["toys >= 0.9", "torch", "click >= 8, < 100"])
    assert recipe.requires == ("toys >= 0.9", "torch", "click >= 8, < 100")


def test_missing_or_old_requirements_suggest_an_install_command(toy_recipe):
    message = message_of(toy_recipe, requires=["gankit-lecam >= 0.2", "toys >= 2"])
    assert "requires: gankit-lecam is not installed; try `pip install 'gankit-lecam >= 0.2'`" in message
    assert "requires: 1.0 is installed, and toys >= 2 is required; try `pip install 'toys >= 2'`" in message


@pytest.mark.parametrize("given", ["toys", 3, [3], ["not a requirement !"], [""]])
def test_a_wrong_list_of_requirements_is_an_error(toy_recipe, given):
    assert "requires: " in message_of(toy_recipe, requires=given)


def test_the_resolved_recipe_requires_the_distributions_of_its_plugins(toy_recipe, shelf):
    class Lecam(Plugin):
        """Plugin of another distribution."""

        name = "Lecam"

    shelf.add(Lecam)
    recipe = toy_recipe(tricks={"Lecam": {}})
    assert recipe.requires == ("toys >= 1.0", "own >= 1.0")
    # The same recipe on a machine without that distribution.
    elsewhere = Registry([e for e in shelf.registry.entries if e.distribution != "own"])
    with pytest.raises(InputError) as error:
        Recipe.from_dict(recipe.to_dict(), registry=elsewhere)
    assert "requires: own is not installed; try `pip install 'own >= 1.0'`" in str(error.value)
    assert "tricks.Lecam.use: no trick called 'Lecam' is installed" in str(error.value)


def test_requirements_of_an_extended_recipe_are_kept(tmp_path):
    (tmp_path / "base.toml").write_text('requires = ["a >= 1", "b"]\n')
    (tmp_path / "top.toml").write_text('extends = "base.toml"\nrequires = ["c", "b"]\n')
    assert read_toml(tmp_path / "top.toml")["requires"] == ["a >= 1", "b", "c"]


def test_names_of_distributions_are_normalised():
    registry = Registry([Entry("trick", "x", "Gankit_LeCam", "0.3", "m:C")])
    assert registry.version_of("gankit-lecam") == "0.3"
    assert registry.version_of("pluggy") is not None
    assert registry.version_of("no-such-distribution-anywhere") is None


def test_a_plugin_for_a_newer_gankit_is_refused(toy_recipe, shelf):
    class Future(Plugin):
        """Plugin for future hook points."""

        name, api_version = "Future", 99

    shelf.add(Future)
    message = message_of(toy_recipe, tricks={"Future": {}})
    assert "tricks.Future.use: Future needs version 99 of the hook points" in message
    assert "`pip install -U gankit`" in message
    toy_recipe()


@pytest.mark.parametrize("version", ["2.0a1.dev3+g1234abc", "2.13.0+cpu", "unknown", ""])
def test_any_installed_version_can_be_required(toy_recipe, shelf, version):
    class Lecam(Plugin):
        """Plugin of another distribution."""

        name = "Lecam"

    shelf.add(Lecam)
    entries = [replace(e, version=version) if e.distribution == "own" else e for e in shelf.registry.entries]
    shelf.registry = Registry(entries)
    recipe = toy_recipe(tricks={"Lecam": {}})
    assert Requirement(recipe.requires[-1]).name == "own"
    assert Recipe.from_dict(recipe.to_dict()).requires == recipe.requires


def test_requirements_with_other_markers_are_ignored(toy_recipe):
    toy_recipe(requires=['no-such-thing; sys_platform == "plan9"', 'toys >= 1; python_version >= "3"'])
    assert "no-such-thing is not installed" in message_of(toy_recipe, requires=['no-such-thing; python_version >= "3"'])


def test_an_api_version_must_be_a_number(toy_recipe, shelf):
    class Textual(Plugin):
        """Plugin with a string as its version."""

        name, api_version = "Textual", "2"

    shelf.add(Textual)
    assert "api_version is '2'; it must be a whole number" in message_of(toy_recipe, tricks={"Textual": {}})


def add_clashing_plugin(shelf):
    """Add a plugin of another distribution with the kind and name of the generator."""
    own = next(e for e in shelf.registry.entries if e.label == "generator.G")
    shelf.registry = Registry([*shelf.registry.entries, replace(own, distribution="other", value="nowhere:G")])


def test_a_later_clash_of_names_does_not_affect_existing_runs_and_files(toy_recipe, shelf, tmp_path):
    reporter = RecordingReporter()
    directory, _ = start(toy_recipe(), tmp_path / "run", reporter)
    directory.release()
    add_clashing_plugin(shelf)
    with pytest.raises(InputError, match="2 distributions provide a generator called 'G'"):
        toy_recipe()
    assert len(Sampler.load(directory.generator_file).sample(2)[0]) == 2
    _, outcome = resume(directory.path, ["train.iterations=7"], reporter)
    assert outcome.iterations == 7


def test_a_missing_plugin_of_a_generator_file_names_its_distribution(toy_recipe, shelf, tmp_path):
    directory, _ = start(toy_recipe(), tmp_path / "run", RecordingReporter())
    shelf.registry = Registry([])
    with pytest.raises(InputError, match=r"it was part of toys 1\.0, which is not installed"):
        Sampler.load(directory.generator_file)
