"""Folder of a study: written, read, extended and refused; and the comparison of its runs."""

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


def begin(path, *added, seeds=(0, 1), overrides=()):
    study = Study.begin(path, variants(*added, overrides=overrides), seeds, 1)
    study.release()
    return study


def write_runs(study, values, seconds=None, failed=(), stopped=(), protocol=None, length=None):
    """Write the files of complete runs. values[folder][seed] is a dictionary of metrics."""
    for run in study.runs:
        if run.seed not in values.get(run.variant.folder, {}):
            continue
        run.path.mkdir(parents=True)
        (run.path / "recipe.toml").write_text("")
        environment = {"plugins": plugin_record(run.variant.recipe.components)}
        (run.path / "environment.json").write_text(json.dumps(environment))
        pace = (seconds or {}).get(run.variant.folder, 1.0)
        rows = [{"iteration": n, "seconds": n * pace, "loss": {}} for n in (10, 20, 30)]
        where = (run.variant.folder, run.seed)
        end = (length or {}).get(where, 30)
        row = {"iteration": end, "metrics": values[run.variant.folder][run.seed]}
        rows.append(row | {"protocol": protocol(run) if protocol else {}})
        (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        outcome = {"iterations": end, "stop_reason": "enough" if where in stopped else None, "failed": None}
        if where in failed:
            outcome["failed"] = "iteration 3: the generator's loss is nan"
        run.outcome_file.write_text(json.dumps(outcome))


def test_a_study_is_read_as_it_was_written(tmp_path):
    study = begin(tmp_path / "s", "packing.size=3", overrides=IN_ORDER)
    opened = Study.open(tmp_path / "s")
    assert (opened.seeds, opened.threads) == ([0, 1], 1)
    assert [(v.folder, v.trick, v.adds) for v in opened.variants] == [
        ("recipe", "", True),
        ("with-packing.size=3", "packing.size=3", True),
    ]
    for variant, other in zip(study.variants, opened.variants, strict=True):
        # The TOML text keeps the order of the tricks.
        assert variant.recipe.to_toml() == other.recipe.to_toml()
        assert (tmp_path / "s" / f"{variant.folder}.toml").read_text() == variant.recipe.to_toml()
    assert list(opened.base.recipe.to_dict()["tricks"]) == ["r1", "dragan"]
    assert [run.name for run in opened.runs] == [
        "recipe, seed 0",
        "with packing.size=3, seed 0",
        "recipe, seed 1",
        "with packing.size=3, seed 1",
    ]


def test_a_resumed_study_keeps_its_recipes(tmp_path):
    study = begin(tmp_path / "s", "packing", overrides=IN_ORDER)
    write_runs(study, VALUES)
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").glob("*.toml")}
    opened = Study.open(tmp_path / "s")
    Study.begin(tmp_path / "s", opened.variants, [0, 1, 2], 1).release()
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "s").glob("*.toml")}


VALUES = {"recipe": {0: {"modes": 3}}}
IN_ORDER = ["tricks.r1={}", "tricks.dragan={}"]
"""Tricks that are not in alphabetical order."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": ["train.iterations=99"]}, "train.iterations of recipe is 2000 in the study and 99"),
        ({"added": ["packing"]}, "the study has the variant with-r1, which was not requested"),
        (
            {"added": ["packing", "r1", "dragan"], "overrides": ["tricks.r2={}"]},
            r"tricks.r2.use of recipe is missing in the study",
        ),
        ({"seeds": [1, 2]}, "--seeds: the study in .* also has seed 0"),
    ],
)
def test_another_study_in_the_folder_is_refused(tmp_path, changes, message):
    write_runs(begin(tmp_path / "s"), VALUES)
    before = (tmp_path / "s" / "study.json").read_bytes()
    with pytest.raises(InputError, match=message):
        begin(
            tmp_path / "s",
            *changes.get("added", []),
            seeds=changes.get("seeds", [0, 1]),
            overrides=changes.get("overrides", []),
        )
    assert (tmp_path / "s" / "study.json").read_bytes() == before


def test_another_order_of_the_tricks_is_refused(tmp_path):
    write_runs(begin(tmp_path / "s", "packing", overrides=IN_ORDER), VALUES)
    message = "tricks of recipe is in the order r1, dragan in the study and in the order dragan, r1 in the request"
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "s", "packing", overrides=IN_ORDER[::-1])


def test_a_study_without_runs_is_replaced(tmp_path):
    begin(tmp_path / "s")
    assert begin(tmp_path / "s", overrides=["train.iterations=99"]).base.recipe.train.iterations == 99


def test_seeds_and_tricks_can_be_added(tmp_path):
    write_runs(begin(tmp_path / "s"), VALUES)
    study = begin(tmp_path / "s", "packing", "dragan", "r1", seeds=[0, 1, 2])
    assert len(study.runs) == 12
    assert sum(run.outcome() is not None for run in study.runs) == 1


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no study"):
        begin(tmp_path / "s")
    with pytest.raises(InputError, match="is a file"):
        begin(tmp_path / "s" / "notes.txt")


MINE = """
from gankit import Plugin, hookimpl


class Mine(Plugin):
    name = "mine"

    @hookimpl
    def after_iteration(self): ...
"""


@pytest.mark.parametrize("ended", ["recipe", "with-mine.use=._mine.py_Mine"])
def test_a_plugin_may_change_until_a_run_with_it_has_ended(tmp_path, monkeypatch, ended):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    study = begin(tmp_path / "s", "mine.use=./mine.py:Mine")
    write_runs(study, {variant.folder: {0: {"modes": 3}} for variant in study.variants})
    for run in study.runs:
        if run.variant.folder != ended:
            run.outcome_file.unlink(missing_ok=True)
    (tmp_path / "mine.py").write_text(f"{MINE}# changed\n")
    if ended == "recipe":
        begin(tmp_path / "s", "mine.use=./mine.py:Mine")
        (tmp_path / "mine.py").write_text(f"{MINE}# changed again\n")
        Study.open(tmp_path / "s")
    else:
        with pytest.raises(InputError, match=r"the source of .*Mine has changed.*cannot be compared"):
            Study.open(tmp_path / "s")


def test_a_study_is_locked(tmp_path):
    study = Study.begin(tmp_path / "s", variants(), [0], 1)
    with pytest.raises(InputError, match="another process is at work on this study"):
        Study.begin(tmp_path / "s", variants(), [0], 1)
    study.release()


def test_compare(tmp_path):
    study = begin(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2])
    values = {
        "recipe": {0: {"modes": 4, "good": 0.9}, 1: {"modes": 5, "good": 0.8}, 2: {"modes": 3, "good": 0.7}},
        "with-packing": {0: {"modes": 5, "good": 0.9}, 1: {"modes": 7, "good": 0.8}, 2: {"modes": 6, "good": 0.7}},
        "with-r1": {0: {"modes": 8, "good": 0.1}, 1: {"modes": 9}, 2: {"modes": 7, "good": 0.2}},
    }
    write_runs(study, values, {"with-packing": 2.0}, failed=[("with-r1", 2)], stopped=[("recipe", 1)])
    comparison = compare(study)
    rows = {(row.trick, row.metric): row for row in comparison.rows}
    assert (comparison.ended, comparison.runs) == (9, 9)
    assert rows["packing", "modes"].without == 4
    assert rows["packing", "modes"].effect.mean == 2
    assert rows["packing", "modes"].effect.low == pytest.approx(2 - 4.302653 / 3**0.5)
    assert rows["packing", "modes"].verdict == "no effect seen"
    assert rows["packing", "good"].verdict == "no effect seen"
    assert (rows["r1", "modes"].effect.pairs, rows["r1", "modes"].verdict) == (2, "same in all")
    assert (rows["r1", "good"].effect.pairs, rows["r1", "good"].verdict) == (1, "no interval")
    assert [(c.trick, pytest.approx(c.ratio.mean)) for c in comparison.costs] == [("packing", 2.0), ("r1", 1.0)]
    assert (comparison.failed, comparison.ended_early) == ({"with r1": [2]}, {"recipe": [1]})
    assert {row.trick: row.failed for row in comparison.rows} == {"packing": 0, "r1": 1}
    assert (comparison.left_out, comparison.unequal) == ([], {})
    assert comparison.comparisons == 1


def test_values_that_are_not_finite_are_listed(tmp_path):
    nan = float("nan")
    study = begin(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2])
    values = {
        "recipe": {seed: {"modes": nan, "good": 0.5} for seed in (0, 1, 2)},
        "with-packing": {seed: {"modes": 8, "good": nan if seed == 1 else 0.7 + seed / 10} for seed in (0, 1, 2)},
        "with-r1": {seed: {"modes": 8, "own": nan} for seed in (0, 1, 2)},
    }
    write_runs(study, values)
    comparison = compare(study)
    assert [(row.trick, row.metric, row.effect.pairs) for row in comparison.rows] == [("packing", "good", 2)]
    assert [(one.metric, one.variant, one.seeds, one.why) for one in comparison.left_out] == [
        ("modes", "recipe", [0, 1, 2], "not finite"),
        ("good", "with packing", [1], "not finite"),
        ("own", "with r1", [0, 1, 2], "not finite"),
    ]
    lines = notes(comparison)
    assert "modes: not finite in 3 of 3 runs of recipe (seeds 0, 1, 2), which are not compared in it." in lines
    assert [row[5] for row in cells(comparison)] == ["no effect seen, of 2 of 3 seeds", "nothing to compare"]


def test_only_metrics_at_the_end_are_compared(tmp_path):
    """A run that was interrupted before its last evaluation has only older metrics."""
    study = begin(tmp_path / "s", "packing", seeds=[0, 1])
    write_runs(study, {folder: {seed: {"modes": 3} for seed in (0, 1)} for folder in ("recipe", "with-packing")})
    log = study.runs[1].path / "log.jsonl"
    log.write_text(log.read_text().replace('"iteration": 30, "metrics"', '"iteration": 20, "metrics"'))
    comparison = compare(study)
    assert [row.effect.pairs for row in comparison.rows] == [1]
    assert (
        "modes: not computed at the end in 1 of 2 runs of with packing (seed 0), which are not compared in it."
        in notes(comparison)
    )


def test_effects_without_failed_pairs_are_marked(tmp_path):
    study = begin(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2, 3, 4])
    values = {
        folder: {seed: {"modes": seed + 3 * number + seed * number / 100} for seed in range(5)}
        for number, folder in enumerate(("recipe", "with-packing", "with-r1"))
    }
    write_runs(study, values, failed=[("with-r1", seed) for seed in (1, 2, 4)])
    comparison = compare(study)
    assert [row[5] for row in cells(comparison)] == ["higher", "higher, of those that held: 2 of 5 seeds"]
    assert "with r1: 3 of 5 broke down (seeds 1, 2, 4); they are not compared." in notes(comparison)


def test_pairs_of_different_lengths_are_listed(tmp_path):
    study = begin(tmp_path / "s", "packing", seeds=[0, 1])
    values = {folder: {seed: {"modes": 3} for seed in (0, 1)} for folder in ("recipe", "with-packing")}
    write_runs(study, values, stopped=[("with-packing", 1)], length={("with-packing", 1): 20})
    comparison = compare(study)
    assert comparison.unequal == {"packing": [1]}
    text = (
        "packing: of seed 1 the two runs are of different lengths, a plugin having ended one; both are compared as they"
    )
    assert any(note.startswith(text) for note in notes(comparison))
    assert "with packing: 1 of 2 were ended by a plugin (seed 1)." in notes(comparison)


def test_the_effect_of_a_left_out_trick_is_that_of_having_it(tmp_path):
    from gankit.ablation.variants import drop_each

    recipe = Recipe.load(find_recipe("gaussian_ring"), ["tricks.r1={}"])
    study = Study.begin(tmp_path / "s", drop_each(recipe), [0, 1], 1)
    study.release()
    write_runs(
        study,
        {"recipe": {0: {"m": 5}, 1: {"m": 6}}, "without-r1": {0: {"m": 1}, 1: {"m": 3}}},
        {"recipe": 3.0},
    )
    comparison = compare(study)
    assert (comparison.rows[0].without, comparison.rows[0].effect.mean) == (2, 3.5)
    assert comparison.costs[0].ratio.mean == pytest.approx(3)


def test_metrics_of_different_protocols_are_not_compared(tmp_path):
    study = begin(tmp_path / "s", "packing", seeds=[0])
    values = {folder: {0: {"frechet": 1.0}} for folder in ("recipe", "with-packing")}
    write_runs(study, values, protocol=lambda run: {"samples": 500 if run.variant.trick else 100})
    with pytest.raises(InputError, match=r"frechet: computed with the protocol .* cannot be compared") as refusal:
        compare(study)
    assert len(str(refusal.value).splitlines()) == 1
