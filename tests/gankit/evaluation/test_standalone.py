"""Tests of `gankit eval`: targets, metrics and their settings, and what a generator file may not do."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from gankit import InputError, Recipe
from gankit.ablation.results import metrics_at
from gankit.evaluation.protocol import protocol_of
from gankit.evaluation.standalone import evaluate, select_metrics, without_download
from gankit.recipe.bundled import find_recipe
from gankit.report.run_record import read_run
from gankit.sampling.generator_file import refuse_untrusted
from gankit.sampling.sampler import Sampler
from gankit.training.launch import start
from tests.gankit.conftest import RecordingReporter


def ring_run(folder, *changes):
    small = ["train.iterations=2", "data.count=200", "output.sample_count=20", "evaluation.count=50"]
    recipe = Recipe.load(find_recipe("gaussian_ring"), [*small, "extractor=pixels", *changes])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GANKIT_CACHE", str(folder / "cache"))
        return start(recipe, folder / "run", RecordingReporter())[0]


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """Return a run with the metric precision_recall twice, with different settings."""
    changes = ["metrics.wide.use=precision_recall", "metrics.wide.k=10", "metrics.precision_recall.k=1"]
    return ring_run(tmp_path_factory.mktemp("ring"), *changes)


@pytest.fixture
def photos(tmp_path):
    """Return a folder of 12 images of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (9 + number, 12), (20 * number, 100, 3)).save(folder / f"{number}.png")
    return folder


def test_a_run_and_its_file_have_the_metrics_of_the_run(tmp_path):
    directory = ring_run(tmp_path, "metrics.frechet_distance={}", "metrics.precision_recall={}")
    row = [row for row in directory.read_log() if "protocol" in row][-1]
    again = evaluate(directory.path, None, {})
    assert again | {key: row[key] for key in ("metrics", "protocol", "iteration")} == again
    from_file = evaluate(directory.generator_file, None, {}, metrics=["frechet_distance"])
    # The metrics of the data plugin, `modes` and `good`, are not among the requested ones.
    assert from_file["metrics"] == {"frechet_distance": row["metrics"]["frechet_distance"]}


def test_a_folder_against_a_folder(photos):
    changes = {"extractor": {"use": "pixels"}, "data": {"resolution": 8}}
    row = evaluate(photos, str(photos), changes)
    assert row["metrics"]["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert (row["metrics"]["precision"], row["metrics"]["recall"]) == (1, 1)
    assert (row["protocol"]["generator"], row["target"]) == ("images", str(photos))
    assert row["protocol"]["generated resize"] == "upright by EXIF, centre square, over white, Lanczos"
    assert row["iteration"] == 0
    moved = photos.rename(photos.with_name("moved"))
    assert evaluate(moved, str(moved), changes)["protocol"] == row["protocol"]


@pytest.mark.parametrize(
    ("target", "against", "changes", "message"),
    [
        ("photos", None, {}, "--against: missing; name the real images to compare with"),
        ("nowhere", "shapes", {}, "nowhere: no such run, generator file or folder of images"),
        ("photos", "nowhere", {}, "--against nowhere: no such folder, file or dataset; datasets: "),
        ("photos", "shapes", {"metrics": {"nonsense": {}}}, "no metric called 'nonsense' is installed"),
        ("photos", "shapes", {"extractor": {"use": "pixls"}}, "did you mean 'pixels'"),
        ("photos", "shapes", {"evaluation": {"cuont": 3}}, "did you mean 'count'"),
        ("photos", "gaussian_ring", {}, "photos: holds images, and gaussian_ring has points; name images with"),
        ("photos", "shapes", {"extractr": {"x": 1}}, "extractr: unknown key; did you mean 'extractor'? there are data"),
        ("photos", "shapes", {"count": 3}, "count: unknown key; did you mean 'evaluation.count'?"),
    ],
)
def test_wrong_input_is_an_error(photos, monkeypatch, target, against, changes, message):
    monkeypatch.chdir(photos.parent)
    with pytest.raises(InputError) as error:
        evaluate(Path(target), against, changes)
    assert message in str(error.value)


def test_cached_features_depend_on_the_source_and_the_settings_of_the_extractor(photos, tmp_path):
    file = tmp_path / "scaled.py"

    def distance(factor, **settings):
        file.write_text(f"""
from gankit import Extractor, Features, Plugin, Settings, hookimpl

class Scaled(Plugin):
    name, kind = "scaled", "extractor"

    class Config(Settings):
        scale: float = 1.0

    @hookimpl
    def build_extractor(self):
        return Extractor({{"extractor": "scaled"}}, lambda images: Features(images.flatten(1) / 255 * {factor}))
""")
        changes = {"extractor": {"use": f"{file}:Scaled", **settings}, "data": {"resolution": 8}}
        row = evaluate(photos, str(photos), changes, metrics=["frechet_distance"])
        return row["metrics"]["frechet_distance"], row["protocol"]["extractor source"]

    (before, source), (after, other_source) = distance("1.0"), distance("100.0")
    assert source != other_source
    # With features of the other scale for one side, the distance would be large.
    assert before == pytest.approx(0, abs=1e-3)
    assert after == pytest.approx(0, abs=1)
    for scale, tolerance in ((1.0, 1e-3), (30.0, 1)):
        assert distance("self.config.scale", scale=scale)[0] == pytest.approx(0, abs=tolerance)


def test_a_metric_has_the_settings_of_its_plugin(ring):
    row = next(row for row in ring.read_log() if "protocol" in row)
    names = ("precision", "recall")
    assert set(row["metrics"]) == {"modes", "good", *names, *(f"metrics.precision_recall.{name}" for name in names)}
    assert protocol_of(row, "precision") == row["protocol"] | {"precision_recall.k": 10}
    assert protocol_of(row, "metrics.precision_recall.recall") == row["protocol"] | {"precision_recall.k": 1}
    assert protocol_of({"metrics": {"x": 1.0}}, "x") == {}
    assert evaluate(ring.path, None, {}, metrics=["wide"])["settings"]["precision"] == {"precision_recall.k": 10}


def test_the_protocol_depends_on_the_settings_but_not_on_other_metrics(ring):
    few = evaluate(ring.path, None, {}, metrics=["wide"])
    more = evaluate(ring.path, None, {"metrics": {"density_coverage": {}}}, metrics=["wide", "density_coverage"])
    other = evaluate(ring.path, None, {"metrics": {"wide": {"k": 3}}}, metrics=["wide"])
    protocols = [metrics_at([row], 2)["precision"].protocol for row in (few, more, other)]
    assert protocols[0] == protocols[1] != protocols[2]
    assert json.loads(protocols[0])["precision_recall.k"] == 10
    for row in (few, more, other):
        ring.log_evaluation(row)
    recorded = [dict(metric.protocol) for metric in read_run(ring.path).metrics if metric.name == "precision"]
    assert {protocol["precision_recall.k"] for protocol in recorded} == {"10", "3"}


def test_select_metrics_accepts_names_of_tables_and_of_plugins():
    tables = {"metrics": {"wide": {"use": "precision_recall", "k": 10}, "modes": {"share": 0.5}, "fd": {"use": "x@y"}}}

    def selected(*names):
        return select_metrics(tables, names)["metrics"]

    assert selected("wide") == selected("precision_recall") == {"wide": {"use": "precision_recall", "k": 10}}
    assert selected("modes", "x") == {"modes": {"share": 0.5}, "fd": {"use": "x@y"}}
    assert selected("memorisation") == {"memorisation": {}}
    assert selected() == tables["metrics"]


def test_the_protocol_of_a_metric_from_a_file_holds_a_hash(ring, tmp_path):
    file = tmp_path / "mine.py"

    def source(value):
        file.write_text(f"""
from gankit import Plugin, hookimpl

class Mine(Plugin):
    name, kind = "mine", "metric"
    compute_metrics = hookimpl(lambda self: {{"mine": {value}}})
""")
        row = evaluate(ring.path, None, {"metrics": {"mine": {"use": f"{file}:Mine"}}}, metrics=["mine"])
        return row["settings"]["mine"]["mine.source"]

    assert source(1.0) == source(1.0) != source(2.0)


def test_metrics_that_do_not_apply(ring):
    with pytest.raises(InputError, match=r"^modes: not applicable .*; the extractor is pixels; choose another"):
        evaluate(ring.path, None, {}, metrics=["modes"])
    row = evaluate(ring.path, None, {}, metrics=["modes", "frechet_distance"])
    assert set(row["metrics"]) == {"frechet_distance"}
    assert row["left_out"].startswith("modes: not applicable")
    row = evaluate(ring.path, None, {"metrics": {"modes": {}}})
    assert (bool(row["metrics"]), row["left_out"]) == (True, ""), "no metric was requested by name"


class ImportedError(Exception):
    """Error of code that was imported."""


@pytest.fixture
def untrusted(ring, monkeypatch):
    """Return a function that puts tables into the recipe of a generator file, and returns its path."""

    def make(**tables):
        sampler = Sampler.load(ring.generator_file)
        sampler.card["recipe"] |= tables
        monkeypatch.setattr("gankit.evaluation.standalone.sampler_of", lambda *_: sampler)
        return ring.generator_file

    def load(*_, **__):
        raise ImportedError

    monkeypatch.setattr(torch.jit, "load", load)
    (ring.path / "net.pt").write_bytes(b"code")
    return make


def test_a_generator_file_imports_no_code_and_downloads_nothing(untrusted, tmp_path):
    file = untrusted(extractor={"use": "/somewhere/evil.py:Extractor"})
    refusal = r"imports /somewhere/evil\.py:Extractor; if you trust it, add --trust"
    with pytest.raises(InputError, match=refusal):
        evaluate(file, None, {})
    # The user's plugin replaces that of the file.
    assert evaluate(file, None, {"extractor": {"use": "pixels"}})["metrics"]
    table = {"use": "mnist", "download": True, "inner": {"download": True}}
    assert without_download(table) == {"use": "mnist", "inner": {}}
    refuse_untrusted(tmp_path, ["plain", "name@gankit"])


def test_a_dataset_of_a_metric_is_accepted_unless_it_imports_code(untrusted):
    metric = {"use": "classifier_accuracy", "data": {"use": "shapes", "count": 4, "resolution": 8}}
    metrics = {"frechet_distance": {}, "classifier_accuracy": metric}
    assert "frechet_distance" in evaluate(untrusted(metrics=metrics), None, {})["metrics"]
    metric["data"] = {"use": "/somewhere/evil.py:Data"}
    with pytest.raises(InputError, match=r"imports /somewhere/evil\.py:Data; if you trust it, add --trust"):
        evaluate(untrusted(metrics=metrics), None, {})


@pytest.mark.parametrize("use", ["torchscript", "inception"])
def test_a_generator_file_names_no_path_of_a_network(untrusted, ring, use):
    net = str(ring.path / "net.pt")
    file = untrusted(extractor={"use": use, "path": net})
    with pytest.raises(InputError, match=r"names extractor\.path = .*net\.pt, which may run code; .*--trust"):
        evaluate(file, None, {})
    # If the user chooses the same plugin, the path still comes from the file.
    with pytest.raises(InputError, match="may run code"):
        evaluate(file, None, {"extractor": {"use": use}})
    with pytest.raises(ImportedError):
        evaluate(file, None, {}, trust=True)
    with pytest.raises(ImportedError):
        evaluate(file, None, {"extractor": {"path": net}})
    assert evaluate(file, None, {"extractor": {"use": "pixels"}})["metrics"]


def test_safe_settings_of_a_generator_file_are_used(untrusted):
    file = untrusted(extractor={"use": "pixels"}, metrics={"kernel_distance": {"block": 20}})
    assert evaluate(file, None, {})["settings"]["kernel_distance"] == {"kernel_distance.block": 20}
    default = Recipe.load(find_recipe("igan_vn"), ["extractor=inception"]).to_dict()["extractor"]
    # The weights may be missing, but the default path is accepted.
    with pytest.raises((InputError, ImportedError)) as error:
        evaluate(untrusted(extractor=default), None, {})
    assert "lead to code" not in str(error.value)
