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


def difference(variants, number):
    """Return the keys that a variant adds to the base, and the keys that it lacks."""
    base, other = (set(v.recipe.components) for v in (variants[0], variants[number]))
    return other - base, base - other


def test_drop_each_leaves_out_each_trick(igan):
    variants = drop_each(igan)
    tricks = [key for key in igan.components if key.startswith("tricks.")]
    assert len(tricks) > 1
    assert variants[0].recipe is igan
    assert [f"tricks.{v.trick}" for v in variants[1:]] == tricks
    for number, key in enumerate(tricks, start=1):
        assert difference(variants, number) == (set(), {key})
        assert variants[number].folder == f"without-{variants[number].trick}"
        assert not variants[number].adds
        changed = variants[number].recipe.to_dict()
        whole = igan.to_dict()
        del whole["tricks"][variants[number].trick]
        assert changed == whole


def test_drop_each_leaves_out_the_trick_of_an_override():
    recipe = Recipe.load(find_recipe("gaussian_ring"), ["tricks.mine.use=packing", "tricks.mine.size=3"])
    assert [v.folder for v in drop_each(recipe)] == ["recipe", "without-mine"]


MONITORS = ["tricks.csv={}", "tricks.training_monitor={}"]


def test_read_only_tricks_are_not_left_out(ring):
    recipe = ring.changed([*MONITORS, "tricks.r1={}", "tricks.collapse_guard={}"])
    # A guard can end a run, which affects the result.
    assert [v.folder for v in drop_each(recipe)] == ["recipe", "without-r1", "without-collapse_guard"]
    assert read_only_tricks(recipe) == ["csv", "training_monitor"]
    assert [v.folder for v in drop_each(recipe, ["training_monitor"])] == ["recipe", "without-training_monitor"]
    with pytest.raises(
        InputError, match="no tricks to leave out except csv, training_monitor, which cannot affect the training; --add"
    ):
        drop_each(ring.changed(MONITORS))


def test_tricks_with_metrics_are_not_left_out(ring, tmp_path):
    (tmp_path / "mine.py").write_text(METRICS)
    overrides = [f"tricks.{name}.use='{tmp_path}/mine.py:{name}'" for name in ("Scoring", "Acting")]
    assert [v.folder for v in drop_each(ring.changed(overrides))] == ["recipe", "without-Acting"]


METRICS = """
from gankit import Plugin, hookimpl


class Scoring(Plugin):
    name = "scoring"

    @hookimpl
    def compute_metrics(self):
        return {"one": 1.0}


class Acting(Scoring):
    name = "acting"

    @hookimpl
    def after_iteration(self): ...
"""


def test_drop_each_takes_a_key(igan):
    (_, variant) = drop_each(igan, ["tricks.instance_noise"])
    assert (variant.folder, variant.trick) == ("without-instance_noise", "instance_noise")


def test_the_order_of_added_tricks_counts(ring):
    assert len(add_each(ring, ["packing r1", "r1 packing"])) == 3


def test_drop_each_of_some_tricks_and_of_another_key(igan):
    variants = drop_each(igan, ["instance_noise", "normalization.generator"])
    assert [v.folder for v in variants] == ["recipe", "without-instance_noise", "without-normalization.generator"]
    assert variants[2].recipe.use_of("normalization.generator") == "none"


def test_add_each_with_settings(ring):
    added = ["packing", "r1.gamma=0.5 r1.every=4", "loss=hinge", "loss=wasserstein weight_clipping.c=0.1"]
    variants = add_each(ring, added)
    assert [v.trick for v in variants] == ["", *added]
    assert [v.folder for v in variants] == [
        "recipe",
        "with-packing",
        "with-r1.gamma=0.5_r1.every=4",
        "with-loss=hinge",
        "with-loss=wasserstein_weight_clipping.c=0.1",
    ]
    assert difference(variants, 1) == ({"tricks.packing"}, set())
    r1 = variants[2].recipe.components["tricks.r1"].config
    assert (r1.gamma, r1.every) == (0.5, 4)
    assert variants[3].recipe.use_of("loss") == "hinge"
    assert variants[4].recipe.use_of("loss") == "wasserstein"
    assert difference(variants, 4) == ({"tricks.weight_clipping"}, set())
    assert ring.to_dict() == variants[0].recipe.to_dict()


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["r1", "r1"], "--only r1: given twice"),
        (["instance_noise", "tricks.instance_noise"], "--only instance_noise: given twice"),
        (["instance_nose"], "--only instance_nose: .* has no such trick; did you mean 'instance_noise'"),
        (["generator"], "without generator: generator: missing"),
        (["latent"], "latent: .* is the same with and without it"),
    ],
)
def test_drop_each_refuses(igan, only, message):
    with pytest.raises(InputError, match=message):
        drop_each(igan, only)


def test_drop_each_refuses_a_recipe_without_tricks(ring):
    with pytest.raises(InputError, match="no tricks to leave out; --add TRICK"):
        drop_each(ring)
    with pytest.raises(InputError, match="its tricks: none"):
        drop_each(ring, ["r1"])


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
    ],
)
def test_add_each_refuses(ring, added, message):
    with pytest.raises(InputError, match=message):
        add_each(ring, added)


def test_add_each_refuses_a_trick_of_the_recipe(igan):
    with pytest.raises(InputError, match=r"has tricks.instance_noise already; --drop tricks.instance_noise"):
        add_each(igan, ["instance_noise.sigma=0.2"])
