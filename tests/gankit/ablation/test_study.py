"""A study's folder: written once, read again, refused when something else is asked of it."""

import json

import pytest

from gankit import InputError, Recipe
from gankit.ablation.comparison import compare
from gankit.ablation.study import Study
from gankit.ablation.variants import with_each
from gankit.bundled import find_recipe


def variants(*added, overrides=()):
    return with_each(Recipe.load(find_recipe("gaussian_ring"), overrides), added or ["packing", "r1"])


def begun(path, *added, seeds=(0, 1), overrides=()):
    study = Study.begin(path, variants(*added, overrides=overrides), seeds, 1)
    study.release()
    return study


def played(study, values, seconds=None, broken=(), stopped=(), protocol=None):
    """Leaves what runs leave: values[folder][seed] is a dictionary of measures."""
    for run in study.runs:
        if run.seed not in values.get(run.variant.folder, {}):
            continue
        run.path.mkdir(parents=True)
        (run.path / "recipe.toml").write_text("")
        rows = []
        pace = (seconds or {}).get(run.variant.folder, 1.0)
        rows += [{"iteration": n, "seconds": n * pace, "loss": {}} for n in (10, 20, 30)]
        row = {"iteration": 30, "measures": values[run.variant.folder][run.seed]}
        how = protocol(run) if protocol else None
        rows.append(row | ({"protocol": how} if how is not None else {}))
        (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        where = (run.variant.folder, run.seed)
        outcome = {"iterations": 30, "stop_reason": "enough" if where in stopped else None, "broke_down": None}
        if where in broken:
            outcome["broke_down"] = "iteration 3: the generator's fool is nan"
        run.outcome_file.write_text(json.dumps(outcome))


def test_it_is_read_as_it_was_written(tmp_path):
    study = begun(tmp_path / "s", "packing.size=3")
    there = Study.open(tmp_path / "s")
    assert (there.seeds, there.threads) == ([0, 1], 1)
    assert [(v.folder, v.trick, v.adds) for v in there.variants] == [
        ("recipe", "", True),
        ("with-packing.size=3", "packing.size=3", True),
    ]
    for variant, other in zip(study.variants, there.variants, strict=True):
        assert variant.recipe.to_dict() == other.recipe.to_dict()
        assert Recipe.load(tmp_path / "s" / f"{variant.folder}.toml").to_dict() == variant.recipe.to_dict()
    assert [run.name for run in there.runs] == [
        "recipe, seed 0",
        "with packing.size=3, seed 0",
        "recipe, seed 1",
        "with packing.size=3, seed 1",
    ]


VALUES = {"recipe": {0: {"modes": 3}}}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"overrides": ["train.iterations=99"]}, "train.iterations of recipe was 2000 .* and is 99 now"),
        ({"added": ["packing"]}, "the study there has with-r1, and this one has not"),
        (
            {"added": ["packing", "r1", "dragan"], "overrides": ["tricks.r2={}"]},
            r"tricks.r2.use of recipe was not there",
        ),
        ({"seeds": [1, 2]}, "--seeds: the study in .* has seed 0 too"),
    ],
)
def test_another_study_is_refused_where_one_has_begun(tmp_path, asked, said):
    played(begun(tmp_path / "s"), VALUES)
    before = (tmp_path / "s" / "study.json").read_bytes()
    with pytest.raises(InputError, match=said):
        begun(
            tmp_path / "s",
            *asked.get("added", []),
            seeds=asked.get("seeds", [0, 1]),
            overrides=asked.get("overrides", []),
        )
    assert (tmp_path / "s" / "study.json").read_bytes() == before


def test_where_nothing_is_played_yet_another_study_takes_its_place(tmp_path):
    begun(tmp_path / "s")
    assert begun(tmp_path / "s", overrides=["train.iterations=99"]).base.recipe.train.iterations == 99


def test_a_study_grows_by_seeds_and_tricks(tmp_path):
    played(begun(tmp_path / "s"), VALUES)
    study = begun(tmp_path / "s", "packing", "dragan", "r1", seeds=[0, 1, 2])
    assert len(study.runs) == 12
    assert sum(run.outcome() is not None for run in study.runs) == 1


def test_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="is not empty and holds no study"):
        begun(tmp_path / "s")
    with pytest.raises(InputError, match="a file of that name is in the way"):
        begun(tmp_path / "s" / "letters.txt")


def test_a_plugin_of_another_source_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (
        "from gankit import Plugin, hookimpl\nclass Mine(Plugin):\n    name = 'mine'\n"
        "    @hookimpl\n    def after_iteration(self): ...\n"
    )
    (tmp_path / "mine.py").write_text(source)
    begun(tmp_path / "s", "mine.use=./mine.py:Mine")
    (tmp_path / "mine.py").write_text(source + "# changed\n")
    with pytest.raises(InputError, match=r"the source of .*Mine has changed.*cannot be compared"):
        Study.open(tmp_path / "s")


def test_two_at_once(tmp_path):
    study = Study.begin(tmp_path / "s", variants(), [0], 1)
    with pytest.raises(InputError, match="another process is at work on this study"):
        Study.begin(tmp_path / "s", variants(), [0], 1)
    study.release()


def test_the_comparison_by_hand(tmp_path):
    study = begun(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2])
    values = {
        "recipe": {0: {"modes": 4, "good": 0.9}, 1: {"modes": 5, "good": 0.8}, 2: {"modes": 3, "good": 0.7}},
        "with-packing": {0: {"modes": 5, "good": 0.9}, 1: {"modes": 7, "good": 0.8}, 2: {"modes": 6, "good": 0.7}},
        "with-r1": {0: {"modes": 8, "good": 0.1}, 1: {"modes": 9}, 2: {"modes": 7, "good": 0.2}},
    }
    played(study, values, {"with-packing": 2.0}, broken=[("with-r1", 2)], stopped=[("recipe", 1)])
    found = compare(study)
    rows = {(row.trick, row.measure): row for row in found.rows}
    assert (found.over, found.runs) == (9, 9)
    assert rows["packing", "modes"].without == 4
    assert rows["packing", "modes"].effect.mean == 2
    assert rows["packing", "modes"].effect.low == pytest.approx(2 - 4.302653 / 3**0.5)
    assert rows["packing", "modes"].verdict == "no effect seen"
    assert rows["packing", "good"].verdict == "no effect seen"
    assert (rows["r1", "modes"].effect.pairs, rows["r1", "modes"].verdict) == (2, "same in all")
    assert (rows["r1", "good"].effect.pairs, rows["r1", "good"].verdict) == (1, "no interval")
    assert [(c.trick, pytest.approx(c.ratio.mean)) for c in found.costs] == [("packing", 2.0), ("r1", 1.0)]
    assert (found.broke_down, found.ended_early) == ({"with r1": [2]}, {"recipe": [1]})
    assert found.comparisons == 1


def test_left_out_tricks_are_counted_as_effects_of_having_them(tmp_path):
    from gankit.ablation.variants import without_each

    recipe = Recipe.load(find_recipe("gaussian_ring"), ["tricks.r1={}"])
    study = Study.begin(tmp_path / "s", without_each(recipe), [0, 1], 1)
    study.release()
    played(
        study,
        {"recipe": {0: {"m": 5}, 1: {"m": 6}}, "without-r1": {0: {"m": 1}, 1: {"m": 3}}},
        {"recipe": 3.0},
    )
    found = compare(study)
    assert (found.rows[0].without, found.rows[0].effect.mean) == (2, 3.5)
    assert found.costs[0].ratio.mean == pytest.approx(3)


@pytest.mark.parametrize("other", [{"samples": 500}, None])
def test_measures_of_different_protocols_are_not_compared(tmp_path, other):
    study = begun(tmp_path / "s", "packing", seeds=[0])
    values = {folder: {0: {"frechet": 1.0}} for folder in ("recipe", "with-packing")}
    played(study, values, protocol=lambda run: other if run.variant.adds and run.variant.trick else {"samples": 100})
    with pytest.raises(InputError, match=r"frechet: measured by the protocol .* cannot be compared") as refusal:
        compare(study)
    assert len(str(refusal.value).splitlines()) == 1
