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


class Lecam(Plugin):
    name = "Lecam"


def test_installed_requirements_are_accepted(toy_recipe):
    given = ("toys >= 0.9", "torch", "click >= 8, < 100", 'no-such; sys_platform == "plan9"')
    assert toy_recipe(requires=list(given)).requires == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["gankit-lecam >= 0.2"], "gankit-lecam is not installed; try `pip install 'gankit-lecam >= 0.2'`"),
        (["toys >= 2"], "1.0 is installed, and toys >= 2 is required; try `pip install 'toys >= 2'`"),
        (['no-such; python_version >= "3"'], "no-such is not installed"),
        ("toys", ""),
        (3, ""),
        ([3], ""),
        (["not a requirement !"], ""),
        ([""], ""),
    ],
)
def test_wrong_or_missing_requirements_are_errors(toy_recipe, given, message):
    with pytest.raises(InputError) as error:
        toy_recipe(requires=given)
    assert f"requires: {message}" in str(error.value)


def test_the_resolved_recipe_requires_the_distributions_of_its_plugins(toy_recipe, shelf):
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


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (99, "tricks.Other.use: Other needs version 99 of the hook points.*`pip install -U gankit`"),
        ("2", "api_version is '2'; it must be a whole number"),
    ],
)
def test_a_plugin_for_another_version_of_the_hook_points_is_refused(toy_recipe, shelf, version, message):
    shelf.add(type("Other", (Plugin,), {"name": "Other", "api_version": version}))
    with pytest.raises(InputError, match=message):
        toy_recipe(tricks={"Other": {}})
    toy_recipe()


@pytest.mark.parametrize("version", ["2.0a1.dev3+g1234abc", "2.13.0+cpu", "unknown", ""])
def test_any_installed_version_can_be_required(toy_recipe, shelf, version):
    shelf.add(Lecam)
    entries = [replace(e, version=version) if e.distribution == "own" else e for e in shelf.registry.entries]
    shelf.registry = Registry(entries)
    recipe = toy_recipe(tricks={"Lecam": {}})
    assert Requirement(recipe.requires[-1]).name == "own"
    assert Recipe.from_dict(recipe.to_dict()).requires == recipe.requires


def test_a_later_clash_of_names_does_not_affect_existing_runs_and_files(toy_recipe, shelf, tmp_path):
    reporter = RecordingReporter()
    directory, _ = start(toy_recipe(), tmp_path / "run", reporter)
    directory.release()
    own = next(e for e in shelf.registry.entries if e.label == "generator.G")
    shelf.registry = Registry([*shelf.registry.entries, replace(own, distribution="other", value="nowhere:G")])
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
