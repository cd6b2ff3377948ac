"""Folder of a study: written, read, extended and refused; and the comparison of its runs."""

import json

import pytest

from gankit import InputError, Recipe
from gankit.ablation.comparison import compare
from gankit.ablation.study import Study
from gankit.ablation.variants import add_each, drop_each
from gankit.cli.ablation_table import cells, notes
from gankit.recipe.bundled import find_recipe
from gankit.storage.provenance import plugin_record

IN_ORDER = ["tricks.r1={}", "tricks.dragan={}"]
"""Tricks that are not in alphabetical order."""

BOTH = ("recipe", "with-packing")


def variants(*added, overrides=()):
    return add_each(Recipe.load(find_recipe("gaussian_ring"), overrides), added or ["packing", "r1"])


def begin(path, *added, seeds=(0, 1), overrides=()):
    study = Study.begin(path, variants(*added, overrides=overrides), seeds, 1)
    study.release()
    return study


def write_runs(study, values, seconds=None, failed=(), stopped=(), protocol=None, iterations=None):
    """Write the files of complete runs. values[folder][seed] is a dictionary of metrics."""
    for run in study.runs:
        where = folder, seed = run.variant.folder, run.seed
        if seed not in values.get(folder, {}):
            continue
        run.path.mkdir(parents=True)
        (run.path / "recipe.toml").write_text("")
        environment = {"plugins": plugin_record(run.variant.recipe.components)}
        (run.path / "environment.json").write_text(json.dumps(environment))
        rows = [{"iteration": n, "seconds": n * (seconds or {}).get(folder, 1.0), "loss": {}} for n in (10, 20, 30)]
        end = (iterations or {}).get(where, 30)
        rows.append({"iteration": end, "metrics": values[folder][seed], "protocol": protocol(run) if protocol else {}})
        (run.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        outcome = {"iterations": end, "stop_reason": "enough" if where in stopped else None}
        run.outcome_file.write_text(json.dumps(outcome | {"failed": "a loss is nan" if where in failed else None}))


def test_a_study_is_read_as_it_was_written(tmp_path):
    study = begin(tmp_path / "s", "packing.size=3", overrides=IN_ORDER)
    opened = Study.open(tmp_path / "s")
    assert (opened.seeds, opened.threads) == ([0, 1], 1)
    assert [(v.folder, v.trick, v.adds) for v in opened.variants] == [
        ("recipe", "", True),
        ("with-packing.size=3", "packing.size=3", True),
    ]
    # The TOML text keeps the order of the tricks.
    texts = {f"{variant.folder}.toml": variant.recipe.to_toml() for variant in study.variants}
    assert {f"{variant.folder}.toml": variant.recipe.to_toml() for variant in opened.variants} == texts
    assert list(opened.base.recipe.to_dict()["tricks"]) == ["r1", "dragan"]
    assert [run.name for run in opened.runs] == [
        f"{variant}, seed {seed}" for seed in (0, 1) for variant in ("recipe", "with packing.size=3")
    ]
    write_runs(study, {"recipe": {0: {"modes": 3}}})
    Study.begin(tmp_path / "s", opened.variants, [0, 1, 2], 1).release()
    assert {path.name: path.read_text() for path in (tmp_path / "s").glob("*.toml")} == texts


@pytest.mark.parametrize(
    ("added", "options", "message"),
    [
        ("packing", {"overrides": [*IN_ORDER, "seed=9"]}, "seed of recipe is 0 in the study and 9 in the request"),
        ("packing.size=3", {}, "the study has the variant with-packing, which was not requested"),
        ("packing", {"overrides": [*IN_ORDER, "tricks.r2.use=r1"]}, "tricks.r2.use of recipe is missing in the study"),
        ("packing", {"overrides": IN_ORDER[::-1]}, "in the order r1, dragan in the study and in the order dragan, r1"),
        ("packing", {"seeds": [1, 2]}, "--seeds: the study in .* also has seed 0"),
    ],
)
def test_another_study_in_the_folder_is_refused(tmp_path, added, options, message):
    write_runs(begin(tmp_path / "s", "packing", overrides=IN_ORDER), {"recipe": {0: {"modes": 3}}})
    before = (tmp_path / "s" / "study.json").read_bytes()
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "s", added, **{"overrides": IN_ORDER} | options)
    assert (tmp_path / "s" / "study.json").read_bytes() == before


def test_seeds_and_tricks_can_be_added(tmp_path):
    begin(tmp_path / "s", overrides=["train.iterations=99"])
    # A study without runs is replaced.
    study = begin(tmp_path / "s")
    assert study.base.recipe.train.iterations == 2000
    write_runs(study, {"recipe": {0: {"modes": 3}}})
    study = begin(tmp_path / "s", "packing", "dragan", "r1", seeds=[0, 1, 2])
    assert len(study.runs) == 12
    assert sum(run.outcome() is not None for run in study.runs) == 1


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no study"):
        begin(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        begin(tmp_path / "notes.txt")
    study = Study.begin(tmp_path / "s", variants(), [0], 1)
    with pytest.raises(InputError, match="another process is at work on this study"):
        begin(tmp_path / "s")
    study.release()


@pytest.mark.parametrize("ended", ["recipe", "with-mine.use=._mine.py_Mine"])
def test_a_plugin_may_change_until_a_run_with_it_has_ended(tmp_path, monkeypatch, ended):
    monkeypatch.chdir(tmp_path)
    text = "import gankit\nclass Mine(gankit.Plugin):\n    name = 'mine'\n"
    (tmp_path / "mine.py").write_text(text)
    write_runs(begin(tmp_path / "s", "mine.use=./mine.py:Mine"), {ended: {0: {"modes": 3}}})
    (tmp_path / "mine.py").write_text(f"{text}# changed\n")
    if ended == "recipe":
        begin(tmp_path / "s", "mine.use=./mine.py:Mine")
        (tmp_path / "mine.py").write_text(f"{text}# changed again\n")
        Study.open(tmp_path / "s")
    else:
        with pytest.raises(InputError, match=r"the source of .*Mine has changed.*cannot be compared"):
            Study.open(tmp_path / "s")


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
    text = "modes: not finite in 3 of 3 runs of recipe (seeds 0, 1, 2); this metric is not compared for them."
    assert text in notes(comparison)
    assert [row[5] for row in cells(comparison)] == ["no effect seen, in 2 of 3 seeds", "nothing to compare"]


def test_effects_without_failed_pairs_are_marked(tmp_path):
    study = begin(tmp_path / "s", "packing", "r1", seeds=[0, 1, 2, 3, 4])
    values = {
        folder: {seed: {"modes": seed + 3 * number + seed * number / 100} for seed in range(5)}
        for number, folder in enumerate(("recipe", "with-packing", "with-r1"))
    }
    write_runs(study, values, failed=[("with-r1", seed) for seed in (1, 2, 4)])
    comparison = compare(study)
    assert [row[5] for row in cells(comparison)] == ["higher", "higher, in 2 of 5 seeds; others failed"]
    assert "with r1: 3 of 5 failed (seeds 1, 2, 4); they are not compared." in notes(comparison)


def test_pairs_that_differ_in_length_or_lack_a_metric_are_listed(tmp_path):
    study = begin(tmp_path / "s", "packing", seeds=[0, 1])
    values = {folder: {seed: {"modes": 3} for seed in (0, 1)} for folder in BOTH}
    write_runs(study, values, stopped=[("with-packing", 1)], iterations={("with-packing", 1): 20})
    # A run that was interrupted before its last evaluation has only older metrics.
    log = study.runs[1].path / "log.jsonl"
    log.write_text(log.read_text().replace('"iteration": 30, "metrics"', '"iteration": 20, "metrics"'))
    comparison = compare(study)
    assert [row.effect.pairs for row in comparison.rows] == [1]
    assert comparison.unequal == {"packing": [1]}
    text = "\n".join(notes(comparison))
    assert "packing: seed 1: the two runs have different lengths" in text
    assert "with packing: 1 of 2 were ended by a plugin (seed 1)." in text
    assert "modes: not computed at the end in 1 of 2 runs of with packing (seed 0); " in text


def test_the_effect_of_a_left_out_trick_is_that_of_having_it(tmp_path):
    recipe = Recipe.load(find_recipe("gaussian_ring"), ["tricks.r1={}"])
    study = Study.begin(tmp_path / "s", drop_each(recipe), [0, 1], 1)
    study.release()
    values = {"recipe": {0: {"m": 5}, 1: {"m": 6}}, "without-r1": {0: {"m": 1}, 1: {"m": 3}}}
    write_runs(study, values, seconds={"recipe": 3.0})
    comparison = compare(study)
    assert (comparison.rows[0].without, comparison.rows[0].effect.mean) == (2, 3.5)
    assert comparison.costs[0].ratio.mean == pytest.approx(3)


def test_metrics_of_different_protocols_are_not_compared(tmp_path):
    study = begin(tmp_path / "s", "packing", seeds=[0])
    write_runs(
        study,
        {folder: {0: {"frechet": 1.0}} for folder in BOTH},
        protocol=lambda run: {"samples": 500 if run.variant.trick else 100},
    )
    with pytest.raises(InputError, match=r"frechet: computed with the protocol .* cannot be compared") as refusal:
        compare(study)
    assert len(str(refusal.value).splitlines()) == 1
