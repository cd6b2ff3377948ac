"""Recipes of a study: each variant differs from the base in one trick."""

import pytest

from gankit import InputError, Recipe
from gankit.ablation.variants import add_each, drop_each, read_only_tricks
from gankit.recipe.bundled import find_recipe


@pytest.fixture
def igan():
    return Recipe.load(find_recipe("igan_vn"))


@pytest.fixture
def ring():
    return Recipe.load(find_recipe("gaussian_ring"))


def difference(variant, base):
    """Return the keys that a variant adds to the base, and the keys that it lacks."""
    base, other = (set(recipe.components) for recipe in (base, variant.recipe))
    return other - base, base - other


def test_drop_each_leaves_out_each_trick(igan):
    base, *variants = drop_each(igan)
    tricks = [key for key in igan.components if key.startswith("tricks.")]
    assert len(tricks) > 1
    assert base.recipe is igan
    assert [f"tricks.{v.trick}" for v in variants] == tricks
    for variant, key in zip(variants, tricks, strict=True):
        assert difference(variant, igan) == (set(), {key})
        assert variant.folder == f"without-{variant.trick}"
        assert not variant.adds
        whole = igan.to_dict()
        del whole["tricks"][variant.trick]
        assert variant.recipe.to_dict() == whole


def test_read_only_tricks_are_not_left_out(ring):
    monitors = ["tricks.csv={}", "tricks.training_monitor={}"]
    recipe = ring.changed([*monitors, "tricks.mine.use=packing", "tricks.mine.size=3", "tricks.collapse_guard={}"])
    # A guard can end a run, which affects the result.
    assert [v.folder for v in drop_each(recipe)] == ["recipe", "without-mine", "without-collapse_guard"]
    assert read_only_tricks(recipe) == ["csv", "training_monitor"]
    assert [v.folder for v in drop_each(recipe, ["training_monitor"])] == ["recipe", "without-training_monitor"]
    message = "no tricks to leave out except csv, training_monitor, which cannot affect the training; --add"
    with pytest.raises(InputError, match=message):
        drop_each(ring.changed(monitors))


def test_tricks_with_metrics_are_not_left_out(ring, tmp_path):
    (tmp_path / "mine.py").write_text("""
from gankit import Plugin, hookimpl

class Scoring(Plugin):
    name = "scoring"
    compute_metrics = hookimpl(lambda self: None)

class Acting(Scoring):
    name = "acting"
    after_iteration = hookimpl(lambda self: None)
""")
    overrides = [f"tricks.{name}.use='{tmp_path}/mine.py:{name}'" for name in ("Scoring", "Acting")]
    assert [v.folder for v in drop_each(ring.changed(overrides))] == ["recipe", "without-Acting"]


def test_drop_each_of_some_tricks_and_of_another_key(igan):
    variants = drop_each(igan, ["tricks.instance_noise", "normalization.generator"])
    assert [v.folder for v in variants] == ["recipe", "without-instance_noise", "without-normalization.generator"]
    assert variants[1].trick == "instance_noise"
    assert variants[2].recipe.use_of("normalization.generator") == "none"


def test_add_each_with_settings(ring):
    added = ["packing r1", "r1 packing", "r1.gamma=0.5 r1.every=4", "loss=wasserstein weight_clipping.c=0.1"]
    base, *variants = add_each(ring, added)
    assert [v.trick for v in variants] == added
    assert [v.folder for v in variants] == [
        "with-packing_r1",
        "with-r1_packing",
        "with-r1.gamma=0.5_r1.every=4",
        "with-loss=wasserstein_weight_clipping.c=0.1",
    ]
    assert difference(variants[0], ring) == ({"tricks.packing", "tricks.r1"}, set())
    r1 = variants[2].recipe.components["tricks.r1"].config
    assert (r1.gamma, r1.every) == (0.5, 4)
    assert variants[3].recipe.use_of("loss") == "wasserstein"
    assert difference(variants[3], ring) == ({"tricks.weight_clipping"}, set())
    assert (base.folder, base.recipe) == ("recipe", ring)


@pytest.mark.parametrize(
    ("recipe", "only", "message"),
    [
        ("igan", ["r1", "r1"], "--only r1: given twice"),
        ("igan", ["instance_noise", "tricks.instance_noise"], "--only instance_noise: given twice"),
        ("igan", ["instance_nose"], "--only instance_nose: .* has no such trick; did you mean 'instance_noise'"),
        ("igan", ["generator"], "without generator: generator: missing"),
        ("ring", ["loss"], "loss: .* is the same with and without it"),
        ("ring", [], "no tricks to leave out; --add TRICK"),
        ("ring", ["r1"], "its tricks: none"),
    ],
)
def test_drop_each_refuses(request, recipe, only, message):
    with pytest.raises(InputError, match=message):
        drop_each(request.getfixturevalue(recipe), only)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["packing", "packing"], "--add packing: given twice"),
        (["packing", "tricks.packing={}"], "tricks.packing={}: the same as packing; leave one of them out"),
        (["pakcing"], "--add pakcing: tricks.pakcing.use: .*pakcing.*did you mean 'packing'"),
        (["packing.size=many"], "--add packing.size=many: tricks.packing.size: 'many' given"),
        (["packing.siez=2"], "did you mean 'size'"),
        (["loss=non_saturating"], "is the same with and without it"),
        ([" "], "--add: empty"),
        (["dragan.weight=2"], r"has tricks.dragan already; --drop tricks.dragan"),
    ],
)
def test_add_each_refuses(ring, added, message):
    with pytest.raises(InputError, match=message):
        add_each(ring.changed(["tricks.dragan={}"]), added)
