"""`gankit eval` as it is typed."""

import json

import pytest


@pytest.fixture
def ring(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    small = ["train.iterations=2", "data.count=100", "output.sample_count=10", "train.device=cpu"]
    assert gankit("run", "gaussian_ring", *small, "--out", "ring").code == 0
    return tmp_path


def test_numbers_come_with_their_protocol_and_are_kept(gankit, ring):
    answer = gankit("eval", "ring", "--extractor", "pixels", "--count", "20")
    assert (answer.code, answer.err) == (0, "")
    said = dict(line.split(maxsplit=1) for line in answer.out.splitlines() if line.strip().count(" "))
    assert {"frechet_distance", "precision", "recall", "density", "coverage", "nearest_ratio"} <= said.keys()
    assert said["extractor"] == "pixels"
    assert "protocol:\n" in answer.out
    (row,) = [json.loads(line) for line in (ring / "ring" / "evaluations.jsonl").read_text().splitlines()]
    assert row["protocol"]["generated images"] == 20
    assert f"{row['measures']['frechet_distance']:.4g}" == said["frechet_distance"]


def test_json_is_the_row_and_nothing_else(gankit, ring):
    answer = gankit(
        "eval", "ring/generator.safetensors", "--extractor", "pixels", "--metric", "precision_recall", "--json"
    )
    assert answer.code == 0
    row = json.loads(answer.out)
    assert set(row["metrics"]) == {"precision", "recall"}
    assert row["iteration"] == 2
    assert not (ring / "ring" / "evaluations.jsonl").exists()


def test_a_measure_in_a_file_lies_where_the_command_is_typed(gankit, ring):
    (ring / "mine.py").write_text(
        "from gankit import Plugin, hookimpl\n"
        "class Count(Plugin):\n"
        "    name, kind = 'count', 'measure'\n"
        "    @hookimpl\n"
        "    def compute_metrics(self, comparison):\n"
        "        return {'images': float(len(comparison.fake.images))}\n"
    )
    answer = gankit("eval", "ring", "--extractor", "pixels", "--metric", "count", "metrics.count.use=./mine.py:Count")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("images  ")


def test_an_extractor_in_a_file_lies_where_the_command_is_typed(gankit, ring):
    (ring / "mine.py").write_text(
        "from gankit import Extractor, Features, Plugin, hookimpl\n"
        "class Half(Plugin):\n"
        "    name, kind = 'half', 'extractor'\n"
        "    @hookimpl\n"
        "    def build_extractor(self):\n"
        "        return Extractor({'extractor': 'half'}, lambda images: Features(images.flatten(1) / 2))\n"
    )
    for named in (["--extractor", "./mine.py:Half"], ["extractor=./mine.py:Half"]):
        answer = gankit("eval", "ring", "--metric", "frechet_distance", *named)
        assert answer.code == 0, answer.err
        assert "  extractor source  " in answer.out


def test_settings_of_measures_are_told(gankit, ring):
    answer = gankit(
        "eval", "ring", "--extractor", "pixels", "--metric", "precision_recall", "metrics.precision_recall.k=5"
    )
    assert answer.code == 0, answer.err
    assert any(line.split() == ["precision", "precision_recall.k", "5"] for line in answer.out.splitlines())


def test_what_is_no_number_is_null_in_json(gankit, ring):
    (ring / "mine.py").write_text(
        "from gankit import Plugin, hookimpl\n"
        "class Odd(Plugin):\n"
        "    name, kind = 'odd', 'measure'\n"
        "    @hookimpl\n"
        "    def compute_metrics(self, comparison):\n"
        "        return {'nan': float('nan'), 'one': 1.0}\n"
    )
    odd = ["--metric", "odd", "metrics.odd.use=./mine.py:Odd"]
    answer = gankit("eval", "ring", "--extractor", "pixels", *odd, "--json")
    assert answer.code == 0, answer.err
    assert '"measures": {"nan": null, "one": 1.0}' in answer.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no run, generator file or folder of images nowhere"),
        (["ring", "--count", "1"], "--count"),
        (
            ["ring", "--extractor", "pixls"],
            "extractor.use: no extractor called 'pixls' is installed; did you mean 'pixels'",
        ),
        (["ring", "--metric", "fid"], "--metric fid: it is called frechet_distance here"),
        (["ring", "--metric", "fidd"], "no measure called 'fidd' is installed"),
        (["ring", "--extractor", "pixels", "evaluation.cuont=3"], "did you mean 'count'"),
        (["ring"], "for points take extractor"),
        (["ring", "--extractor", "pixels", "--metric", "modes"], "modes: nothing to say of images without classes"),
        (["ring", "extractr.x=1", "count=3"], "extractr: unknown key; did you mean 'extractor'?"),
        (["ring", "count=3"], "count: unknown key; did you mean 'evaluation.count'?"),
        (["ring", "train.device=cpu"], "train: unknown key; there are data, extractor, measures, evaluation"),
        (["ring", "--extractor", "inception", "extractor.path=gone.pt"], "download = true fetches it"),
    ],
)
def test_mistakes_are_sentences(gankit, ring, arguments, said):
    answer = gankit("eval", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert not (ring / "ring" / "evaluations.jsonl").exists()
