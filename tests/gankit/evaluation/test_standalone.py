"""What `gankit eval` makes of a target: which measures, with which settings, and whom it believes."""

import json

import pytest
import torch

from gankit import InputError, Recipe
from gankit.ablation.results import metrics_at
from gankit.evaluation.protocol import protocol_of
from gankit.evaluation.standalone import evaluate, narrowed
from gankit.recipe.bundled import find_recipe
from gankit.report.run_record import read_run
from gankit.sampling.sampler import Sampler
from gankit.training.launch import start
from tests.gankit.conftest import Told

SMALL = ["train.iterations=2", "data.count=200", "output.sample_count=20", "evaluation.count=50"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ring(tmp_path):
    """A run of points whose neighbours are counted twice, in different ways."""
    changes = [
        *SMALL,
        "extractor=pixels",
        "metrics.wide.use=precision_recall",
        "metrics.wide.k=10",
        "metrics.precision_recall.k=1",
    ]
    return start(Recipe.load(find_recipe("gaussian_ring"), changes), tmp_path / "run", Told(), lambda _: None)[0]


# Measures and their settings


def test_a_number_comes_with_the_settings_of_its_measure(ring):
    row = next(row for row in ring.read_log() if "protocol" in row)
    assert set(row["metrics"]) == {"precision", "recall", *(f"metrics.precision_recall.{n}" for n in PR)}
    assert protocol_of(row, "precision") == row["protocol"] | {"precision_recall.k": 10}
    assert protocol_of(row, "metrics.precision_recall.recall") == row["protocol"] | {"precision_recall.k": 1}
    assert protocol_of({"metrics": {"x": 1.0}}, "x") == {}


PR = ("precision", "recall")


def test_numbers_compare_only_where_their_measures_are_set_alike(ring):
    """And one measure more makes the others no less comparable."""

    few = evaluate(ring.path, None, {}, metrics=["wide"])
    more = evaluate(ring.path, None, {"metrics": {"density_coverage": {}}}, metrics=["wide", "density_coverage"])
    other = evaluate(ring.path, None, {"metrics": {"wide": {"k": 3}}}, metrics=["wide"])
    protocols = [metrics_at([row], 2)["precision"].protocol for row in (few, more, other)]
    assert protocols[0] == protocols[1] != protocols[2]
    assert json.loads(protocols[0])["precision_recall.k"] == 10
    ring.evaluations_file.write_text("".join(json.dumps(row) + "\n" for row in (few, more, other)))
    taken = [dict(measure.protocol) for measure in read_run(ring.path).metrics if measure.name == "precision"]
    assert {protocol["precision_recall.k"] for protocol in taken} == {"10", "3"}


def test_a_measure_is_found_by_its_name_and_by_its_plugins():
    tables = {"metrics": {"wide": {"use": "precision_recall", "k": 10}, "modes": {"share": 0.5}, "fd": {"use": "x@y"}}}

    def of(*names):
        return narrowed(tables, names)["metrics"]

    assert of("wide") == of("precision_recall") == {"wide": {"use": "precision_recall", "k": 10}}
    assert of("modes", "x") == {"modes": {"share": 0.5}, "fd": {"use": "x@y"}}
    assert of("memorisation") == {"memorisation": {}}
    assert of() == tables["metrics"]


def test_a_measure_that_is_named_has_the_settings_of_the_recipe(ring):
    row = evaluate(ring.path, None, {}, metrics=["wide"])
    assert row["settings"]["precision"] == {"precision_recall.k": 10}


def test_a_measure_from_a_file_is_known_by_what_is_in_it(ring, tmp_path):
    file = tmp_path / "mine.py"

    def source(value):
        file.write_text(
            "from gankit import Plugin, hookimpl\n"
            "class Mine(Plugin):\n"
            "    name, kind = 'mine', 'measure'\n"
            "    @hookimpl\n"
            "    def compute_metrics(self, comparison):\n"
            f"        return {{'mine': {value}}}\n"
        )
        row = evaluate(ring.path, None, {"metrics": {"mine": {"use": f"{file}:Mine"}}}, metrics=["mine"])
        return row["settings"]["mine"]["mine.source"]

    assert source(1.0) == source(1.0) != source(2.0)


def test_where_nothing_is_said_it_is_said_why(ring):
    with pytest.raises(InputError, match=r"modes: nothing to say of images without classes.*, pixels; name another"):
        evaluate(ring.path, None, {}, metrics=["modes"])
    # What one cannot say keeps no other from speaking.
    row = evaluate(ring.path, None, {}, metrics=["modes", "frechet_distance"])
    assert set(row["metrics"]) == {"frechet_distance"}
    assert row["left_out"].startswith("modes: nothing to say")
    # Of the usual ones some have something to say.
    assert evaluate(ring.path, None, {"metrics": {"modes": {}}})["metrics"]


# Whom it believes


class OpenedError(Exception):
    """Code would have run."""


@pytest.fixture
def strangers(ring, monkeypatch):
    """A generator's file whose recipe says what to measure it with."""

    def make(**tables):
        sampler = Sampler.load(ring.generator_file)
        sampler.card["recipe"] |= tables
        monkeypatch.setattr("gankit.evaluation.standalone.sampler_of", lambda *_: sampler)
        return ring.generator_file

    def opened(*_, **__):
        raise OpenedError

    monkeypatch.setattr(torch.jit, "load", opened)
    (ring.path / "net.pt").write_bytes(b"code")
    return make


def test_a_strangers_file_leads_to_no_other_file(strangers, tmp_path):
    net = str(tmp_path / "run" / "net.pt")
    for extractor in ({"use": "torchscript", "path": net}, {"use": "inception", "path": net}):
        file = strangers(extractor=extractor)
        with pytest.raises(InputError, match=r"names extractor\.path = .*net\.pt, which may lead to code; .*--trust"):
            evaluate(file, None, {})
        # The same plugin, chosen by the user, does not make the stranger's path the user's.
        with pytest.raises(InputError, match="may lead to code"):
            evaluate(file, None, {"extractor": {"use": extractor["use"]}})
        with pytest.raises(OpenedError):
            evaluate(file, None, {}, trust=True)
        with pytest.raises(OpenedError):
            evaluate(file, None, {"extractor": {"path": net}})
        assert evaluate(file, None, {"extractor": {"use": "pixels"}})["metrics"]


def test_what_is_harmless_is_followed(strangers):
    file = strangers(extractor={"use": "pixels"}, metrics={"kernel_distance": {"block": 20}})
    assert evaluate(file, None, {})["settings"] == {"kernel_distance": {"kernel_distance.block": 20}}
    default = Recipe.load(find_recipe("igan_vn"), ["extractor=inception"]).to_dict()["extractor"]
    # Refused for what is not there, if it is not, and not for where it would lie.
    with pytest.raises((InputError, OpenedError)) as error:
        evaluate(strangers(extractor=default), None, {})
    assert "lead to code" not in str(error.value)
