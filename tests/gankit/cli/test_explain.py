"""`gankit explain`."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import gankit as toolkit
from gankit.explanation.explain import logit_function
from gankit.plugin.condition import VectorCondition
from gankit.plugin.spec import Spec
from gankit.training.launch import resume
from gankit.training.reporter import Reporter
from gankit.training.saved_run import load_saved_run

PAINTING = ("generator=./toy.py:Painter", "train.iterations=4")
PARTS = (*PAINTING, "tricks.brightness.use=./toy.py:Brightness")
NAMES = [
    *("discriminator-generated.png", "discriminator-real.png", "explanation.json"),
    *("generator-ablation.png", "generator-units.png"),
]


@pytest.fixture
def explain(gankit):
    return lambda *arguments, of="run": gankit("explain", of, *arguments, "--trust", "--device", "cpu")


def facts(folder):
    return json.loads((folder / "explanation.json").read_text())


def test_a_run_with_parts_and_its_report(explain, toy_run):
    run = toy_run("run", *PARTS)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "report.html"}
    answer = explain("--count", 3)
    assert (answer.code, answer.err) == (0, "")
    assert "G, layer body: 6 units of 4x4" in answer.out
    assert "D, real images:" in answer.out
    assert answer.out.endswith("pictures and explanation.json: run/explanation\n")
    assert sorted(path.name for path in (run / "explanation").iterdir()) == NAMES
    for name in NAMES:
        if name.endswith(".png"):
            assert Image.open(run / "explanation" / name).width > 3 * 64
    record = facts(run / "explanation")
    assert record["iteration"] == 4
    assert {share["part"] for share in record["shares"]} <= {"bright", "dark"}
    assert {unit["part"] for unit in record["units"]} == {"bright", "dark"}
    assert {*record["units"][0]["images"]} <= {"a", "b"}
    assert {len(ablation["units"]) for ablation in record["ablations"]} == {1, 2}
    page = (run / "report.html").read_text()
    assert "Explanation at iteration 4" in page
    for table in ("share of the absolute attributions", "units of body", "area of each part after ablation"):
        assert table in page
    assert page.count('alt="discriminator-') == 2
    assert page.count('alt="generator-units"') == 1
    # The other files are unchanged, and the run can be resumed.
    assert all(path.read_bytes() == content for path, content in before.items())
    assert resume(run, [], Reporter())[1].iterations == 4
    first = (run / "explanation" / "explanation.json").read_bytes()
    assert explain("--count", 3).code == 0
    assert (run / "explanation" / "explanation.json").read_bytes() == first


def test_a_run_without_parts(explain, toy_run):
    run = toy_run("run", *PAINTING, "data.classes=0")
    answer = explain("--count", 2, "--out", "new/folder", "--layer", "body.0")
    assert answer.code == 0
    record = facts(run.parent / "new" / "folder")
    assert (record["shares"], record["ablations"], record["rule_iou"]) == ([], [], {})
    assert record["layer"]["name"] == "body.0"
    assert sorted(unit["unit"] for unit in record["units"]) == list(range(6))
    assert record["units"][0]["images"] == []
    assert not (run / "report.html").exists()
    assert not (run / "explanation").exists()


def test_a_generator_without_feature_maps(explain, toy_run):
    run = toy_run("run", "train.iterations=4")
    (run / "explanation").mkdir()
    (run / "explanation" / "generator-units.png").write_text("from an earlier call")
    answer = explain()
    assert answer.code == 0
    assert "G has no layer with feature maps" in answer.out
    assert facts(run / "explanation")["units"] == []
    assert not (run / "explanation" / "generator-units.png").exists()
    assert "Explanation at iteration 4" in (run / "report.html").read_text()


def test_logits_are_complete(explain, toy_run):
    run = toy_run("run", *PARTS)
    explanation = toolkit.explain(run, count=5, device="cpu", trust=True)
    loaded = load_saved_run(run, "cpu", trust=True).run
    loaded.discriminator.eval()
    images, labels, _ = loaded.dataset.read()
    logits = logit_function(loaded, labels[:3])(images[:3].float() / 127.5 - 1)
    torch.testing.assert_close(logits, loaded.discriminator(images[:3].float() / 127.5 - 1, labels[:3]).logits)
    assert 0 < explanation.completeness_error < 0.01
    assert explanation.layer.name == "body"


def test_logits_of_packs_and_patches():
    def discriminator(images, condition):
        assert images.shape == (3, 4, 5, 5)  # two images of two channels
        assert condition.tolist() == [[1, 2, 1, 2]] * 3
        return images[:, ::2] * torch.arange(2).view(2, 1, 1), images

    condition = VectorCondition(("a", "b"), ((0, 1), (0, 1)))
    spec = Spec((2, 5, 5), condition=condition, pack=2)
    run = SimpleNamespace(discriminator=discriminator, spec=spec)
    images = torch.randn(3, 2, 5, 5)
    logits = logit_function(run, torch.tensor([[1.0, 2.0]] * 3))(images)
    torch.testing.assert_close(logits, images[:, 0].mean((1, 2)) / 2)


@pytest.mark.parametrize(
    ("arguments", "overrides", "expected"),
    [
        (["--layer", "head"], PAINTING, "--layer head: G has no such layer with feature maps; choose one of body.0 (6"),
        (
            [],
            (*PARTS, "tricks.brightness.wrong=true"),
            "tricks.brightness: `find_parts` returns a tensor of shape (8, 8)",
        ),
        ([], ("tricks.scattered.use=./toy.py:Scattered", "train.iterations=4"), "run: the samples are no images"),
    ],
)
def test_errors(explain, toy_run, arguments, overrides, expected):
    run = toy_run("run", *overrides)
    answer = explain(*arguments)
    assert answer.code in (1, 2)
    assert answer.err.startswith(f"error: {expected}")
    assert answer.err.count("\n") == 1
    assert not (run / "explanation").exists()


def test_not_a_run_and_no_checkpoint(explain, toy_run):
    assert explain(of="toy.py").err == "error: toy.py is not a run directory: it is a file\n"
    run = toy_run("run", *PAINTING)
    for path in (run / "checkpoints").iterdir():
        path.rename(run / path.name)
    assert "no checkpoint is saved yet" in explain().err


def test_code_of_the_recipe_is_imported_only_with_trust(toy_run):
    toy_run("run", *PAINTING)
    command = [sys.executable, "-m", "gankit", "explain", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--trust" in done.stderr


def test_a_damaged_record_is_left_out_of_the_report(gankit, toy_run):
    run = toy_run("run", *PAINTING)
    (run / "explanation").mkdir()
    for text in ("{", "[]", "{}"):
        (run / "explanation" / "explanation.json").write_text(text)
        assert gankit("report", "run").code == 0
        assert "Explanation at" not in (run / "report.html").read_text()
