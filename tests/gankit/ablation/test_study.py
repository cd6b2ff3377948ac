"""A study's folder: written once, read again, refused when something else is asked of it."""

import json

import pytest

from gankit import InputError, Recipe
from gankit.ablation.comparison import compare
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each
from gankit.cli.ablation_table import cells, notes
from gankit.recipe.bundled import find_recipe
from gankit.storage.provenance import plugin_record


def variants(*added, overrides=()):
    return add_each(Recipe.load(find_recipe("gaussian_ring"), overrides), added or ["packing", "r1"])


def begun(path, *added, seeds=(0, 1), overrides=()):
    study = Study.begin(path, variants(*added, overrides=overrides), seeds, 1)
    study.release()
    return study


def played(study, values, seconds=None, broken=(), stopped=(), protocol=None, length=None):
    """Leaves what runs leave: values[folder][seed] is a dictionary of metrics."""
    for run in study.runs:
        if run.seed not in values.get(run.variant.folder, {}):
            continue
        run.path.mkdir(parents=True)
        (run.path / "recipe.toml").write_text("")
        (run.path / "environment.json").write_text(json.dumps({"plugins": plugin_record(run.variant.recipe)}))
        rows = []
        pace = (seconds or {}).get(run.variant.folder, 1.0)
        rows += [{"iteration": n, "seconds": n * pace, "loss": {}} for n in (10, 20, 30)]
        where = (run.variant.folder, run.seed)
        end = (length or {}).get(where, 30)
        row = {"iteration": end, "metrics": values[run.variant.folder][run.seed]}
        how = protocol(run) if protocol else None
        rows.append(row | ({"protocol": how} if how is not None else {}))
        (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        outcome = {"iterations": end, "stop_reason": "enough" if where in stopped else None, "broke_down": None}
        if where in broken:
            outcome["broke_down"] = "iteration 3: the generator's fool is nan"
        run.outcome_file.write_text(json.dumps(outcome))


def test_it_is_read_as_it_was_written(tmp_path):
    study = begun(tmp_path / "s", "packing.size=3", overrides=IN_ORDER)
    there = Study.open(tmp_path / "s")
    assert (there.seeds, there.threads) == ([0, 1], 1)
    assert [(v.folder, v.trick, v.adds) for v in there.variants] == [
        ("recipe", "", True),
        ("with-packing.size=3", "packing.size=3", True),
    ]
    for variant, other in zip(study.variants, there.variants, strict=True):
        # As text, in which tricks have an order.
        assert variant.recipe.to_toml() == other.recipe.to_toml()
        assert (tmp_path / "s" / f"{variant.folder}.toml").read_text() == variant.recipe.to_toml()
    assert list(there.base.recipe.to_dict()["tricks"]) == ["r1", "dragan"]
    assert [run.name for run in there.runs] == [
        "recipe, seed 0",
        "with packing.size=3, seed 0",
        "recipe, seed 1",
        "with packing.size=3, seed 1",
    ]


def test_a_study_that_goes_on_leaves_its_recipes_as_they_are(tmp_path):
    """What has not begun yet is played as its partners were."""
    study = begun(tmp_path / "s", "packing", overrides=IN_ORDER)
    played(study, VALUES)
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").glob("*.toml")}
    there = Study.open(tmp_path / "s")
    Study.begin(tmp_path / "s", there.variants, [0, 1, 2], 1).release()
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "s").glob("*.toml")}


VALUES = {"recipe": {0: {"modes": 3}}}
IN_ORDER = ["tricks.r1={}", "tricks.dragan={}"]
"""In another than the alphabet's."""


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


def test_tricks_in_another_order_are_another_study(tmp_path):
    played(begun(tmp_path / "s", "packing", overrides=IN_ORDER), VALUES)
    said = "tricks of recipe was in the order r1, dragan when the study began and is in the order dragan, r1 now"
    with pytest.raises(InputError, match=said):
        begun(tmp_path / "s", "packing", overrides=IN_ORDER[::-1])


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


MINE = """
from gankit import Plugin, hookimpl


class Mine(Plugin):
    name = "mine"

    @hookimpl
    def after_iteration(self): ...
"""


@pytest.mark.parametrize("over", ["recipe", "with-mine.use=._mine.py_Mine"])
def test_a_plugin_may_be_mended_until_a_run_with_it_is_over(tmp_path, monkeypatch, over):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    study = begun(tmp_path / "s", "mine.use=./mine.py:Mine")
    played(study, {variant.folder: {0: {"modes": 3}} for variant in study.variants})
    for run in study.runs:
        if run.variant.folder != over:
            run.outcome_file.unlink(missing_ok=True)
    (tmp_path / "mine.py").write_text(f"{MINE}# mended\n")
    if over == "recipe":
        begun(tmp_path / "s", "mine.use=./mine.py:Mine")
        (tmp_path / "mine.py").write_text(f"{MINE}# mended again\n")
        Study.open(tmp_path / "s")
    else:
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
    assert {row.trick: row.broke_down for row in found.rows} == {"packing": 0, "r1": 1}
    assert (found.left_out, found.unequal) == ([], {})
    assert found.comparisons == 1


def test_what_is_not_finite_is_named(tmp_path):
    nan = float("nan")
    study = begun(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2])
    values = {
        "recipe": {seed: {"modes": nan, "good": 0.5} for seed in (0, 1, 2)},
        "with-packing": {seed: {"modes": 8, "good": nan if seed == 1 else 0.7 + seed / 10} for seed in (0, 1, 2)},
        "with-r1": {seed: {"modes": 8, "own": nan} for seed in (0, 1, 2)},
    }
    played(study, values)
    found = compare(study)
    assert [(row.trick, row.measure, row.effect.pairs) for row in found.rows] == [("packing", "good", 2)]
    assert [(one.measure, one.variant, one.seeds, one.why) for one in found.left_out] == [
        ("modes", "recipe", [0, 1, 2], "not finite"),
        ("good", "with packing", [1], "not finite"),
        ("own", "with r1", [0, 1, 2], "not finite"),
    ]
    said = notes(found)
    assert "modes: not finite in 3 of 3 runs of recipe (seeds 0, 1, 2), which are not compared in it." in said
    assert [row[5] for row in cells(found)] == ["no effect seen, of 2 of 3 seeds", "nothing to compare"]


def test_a_measure_counts_only_where_a_run_ended(tmp_path):
    """Of a run that was interrupted before its last evaluation, there is only an older one."""
    study = begun(tmp_path / "s", "packing", seeds=[0, 1])
    played(study, {folder: {seed: {"modes": 3} for seed in (0, 1)} for folder in ("recipe", "with-packing")})
    log = study.runs[1].path / "log.jsonl"
    log.write_text(log.read_text().replace('"iteration": 30, "measures"', '"iteration": 20, "measures"'))
    found = compare(study)
    assert [row.effect.pairs for row in found.rows] == [1]
    assert (
        "modes: not measured at the end in 1 of 2 runs of with packing (seed 0), which are not compared in it."
        in notes(found)
    )


def test_effects_of_survivors_are_marked(tmp_path):
    study = begun(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2, 3, 4])
    values = {
        folder: {seed: {"modes": seed + 3 * number + seed * number / 100} for seed in range(5)}
        for number, folder in enumerate(("recipe", "with-packing", "with-r1"))
    }
    played(study, values, broken=[("with-r1", seed) for seed in (1, 2, 4)])
    found = compare(study)
    assert [row[5] for row in cells(found)] == ["higher", "higher, of those that held: 2 of 5 seeds"]
    assert "with r1: 3 of 5 broke down (seeds 1, 2, 4); they are not compared." in notes(found)


def test_pairs_of_different_lengths_are_named(tmp_path):
    study = begun(tmp_path / "s", "packing", seeds=[0, 1])
    values = {folder: {seed: {"modes": 3} for seed in (0, 1)} for folder in ("recipe", "with-packing")}
    played(study, values, stopped=[("with-packing", 1)], length={("with-packing", 1): 20})
    found = compare(study)
    assert found.unequal == {"packing": [1]}
    said = (
        "packing: of seed 1 the two runs are of different lengths, a plugin having ended one; both are compared as they"
    )
    assert any(note.startswith(said) for note in notes(found))
    assert "with packing: 1 of 2 were ended by a plugin (seed 1)." in notes(found)


def test_left_out_tricks_are_counted_as_effects_of_having_them(tmp_path):
    from gankit.ablation.variants import drop_each

    recipe = Recipe.load(find_recipe("gaussian_ring"), ["tricks.r1={}"])
    study = Study.begin(tmp_path / "s", drop_each(recipe), [0, 1], 1)
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
