"""`gankit eval`."""

import json
import shutil

import pytest

from gankit.recipe.bundled import find_recipe
from gankit.recipe.recipe import Recipe
from gankit.training.launch import start
from gankit.training.reporter import Reporter

PLUGINS = """
from gankit import Extractor, Features, Plugin, hookimpl

class Odd(Plugin):
    name, kind = "odd", "metric"
    @hookimpl
    def compute_metrics(self, comparison):
        return {"images": float(len(comparison.fake.images)), "nan": float("nan")}

class Half(Plugin):
    name, kind = "half", "extractor"
    @hookimpl
    def build_extractor(self):
        return Extractor({"extractor": "half"}, lambda images: Features(images.flatten(1) / 2))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    small = ["train.iterations=2", "data.count=100", "output.sample_count=10", "train.device=cpu"]
    path = tmp_path_factory.mktemp("trained") / "ring"
    start(Recipe.load(find_recipe("gaussian_ring"), small), path, Reporter())
    return path


@pytest.fixture
def ring(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(trained, tmp_path / "ring")
    (tmp_path / "mine.py").write_text(PLUGINS)
    return tmp_path


def test_metrics_are_printed_with_their_protocol_and_saved(gankit, ring):
    answer = gankit("eval", "ring", "--extractor", "pixels", "--count", "20")
    assert (answer.code, answer.err) == (0, "")
    printed = dict(line.split(maxsplit=1) for line in answer.out.splitlines() if line.strip().count(" "))
    assert {"frechet_distance", "precision", "recall", "density", "coverage", "nearest_ratio"} <= printed.keys()
    assert printed["extractor"] == "pixels"
    assert "protocol:\n" in answer.out
    (row,) = [json.loads(line) for line in (ring / "ring" / "evaluations.jsonl").read_text().splitlines()]
    assert row["protocol"]["generated images"] == 20
    assert f"{row['metrics']['frechet_distance']:.4g}" == printed["frechet_distance"]


def test_json_prints_only_the_row(gankit, ring):
    answer = gankit(
        "eval", "ring/generator.safetensors", "--extractor", "pixels", "--metric", "precision_recall", "--json"
    )
    assert answer.code == 0
    row = json.loads(answer.out)
    assert set(row["metrics"]) == {"precision", "recall"}
    assert row["iteration"] == 2
    assert not (ring / "ring" / "evaluations.jsonl").exists()


def test_a_metric_file_is_found_from_the_current_folder_and_nan_is_null_in_json(gankit, ring):
    odd = ["--metric", "odd", "metrics.odd.use=./mine.py:Odd", "--count", "20"]
    answer = gankit("eval", "ring", "--extractor", "pixels", *odd, "--json")
    assert answer.code == 0, answer.err
    assert '"metrics": {"images": 20.0, "nan": null}' in answer.out


@pytest.mark.parametrize("named", [["--extractor", "./mine.py:Half"], ["extractor=./mine.py:Half"]])
def test_an_extractor_file_is_found_from_the_current_folder(gankit, ring, named):
    answer = gankit("eval", "ring", "--metric", "frechet_distance", *named)
    assert answer.code == 0, answer.err
    assert "  extractor source  " in answer.out


def test_settings_of_metrics_are_printed(gankit, ring):
    answer = gankit(
        "eval", "ring", "--extractor", "pixels", "--metric", "precision_recall", "metrics.precision_recall.k=5"
    )
    assert answer.code == 0, answer.err
    assert any(line.split() == ["precision", "precision_recall.k", "5"] for line in answer.out.splitlines())


def test_points_without_a_choice_have_the_metrics_of_their_data(gankit, ring):
    answer = gankit("eval", "ring")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines()[:3]] == ["modes", "good", "protocol:"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: no such run, generator file or folder of images"),
        (["ring", "--count", "1"], "--count"),
        (["ring", "--extractor", "pixls"], "extractor.use: no extractor called 'pixls' is installed; did you mean"),
        (["ring", "--extractor", "pixels", "evaluation.cuont=3"], "did you mean 'count'"),
        (["ring", "--extractor", "bundled"], "uint8 images"),
        (["ring", "--extractor", "pixels", "--metric", "modes"], "modes: not applicable to images without classes"),
        (["ring", "extractr.x=1", "count=3"], "extractr: unknown key; did you mean 'extractor'?"),
        (["ring", "count=3"], "count: unknown key; did you mean 'evaluation.count'?"),
        (["ring", "train.device=cpu"], "train: unknown key; there are data, extractor, metrics, evaluation"),
        (["ring", "--extractor", "inception", "extractor.path=gone.pt"], "set download = true to download it"),
    ],
)
def test_errors(gankit, ring, arguments, expected):
    answer = gankit("eval", *arguments)
    assert answer.code == 2
    assert expected in answer.err
    assert not (ring / "ring" / "evaluations.jsonl").exists()
