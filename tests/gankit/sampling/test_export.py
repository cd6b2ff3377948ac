"""Export: exported functions against the network, constant noise, notes, and generators that cannot be exported."""

import io
import json
import logging
import math
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gankit import Plugin, hookimpl
from gankit.errors import GankitError, InputError
from gankit.sampling import export as module
from gankit.sampling.export import FORMATS, NOTE, ConstantNoise, ExportedGenerator, Format, difference_of, export
from gankit.sampling.sampler import Sampler


class Linear(nn.Module):
    """One linear layer on z, a row for each class, and what the subclasses add."""

    def __init__(self, spec):
        super().__init__()
        self.shape = spec.shape
        self.linear = nn.Linear(spec.latent_size, spec.channels * spec.shape[1] * spec.shape[2])
        self.rows = nn.Parameter(torch.randn(max(1, spec.classes), self.linear.out_features))

    def forward(self, z, labels):
        x = self.linear(z) + (0 if labels is None else F.embedding(labels, self.rows))
        return self.changed(x).tanh().view(-1, *self.shape)

    def changed(self, x):
        return x


class Noisy(Linear):
    def changed(self, x):
        return x + torch.randn(x.shape[0], x.shape[1]) + torch.rand_like(x)


class OtherNoise(Linear):
    def changed(self, x):
        return x + torch.empty_like(x).normal_()


class FixedBatch(Linear):
    def changed(self, x):
        return x + torch.zeros(len(x), 1)


class Count(Linear):
    """Multiplies by the number of images whose first value is positive, which a trace stores as a constant."""

    def changed(self, x):
        return x * int((x[:, 0] > 0).sum())


@pytest.fixture
def sampler_of(file, shelf):
    """Function that returns the sampler of a generator file whose network is of the given class."""

    def make(network, **changes):
        class Own(Plugin):
            name, kind = "Own", "generator"

            @hookimpl
            def adjust_spec(self, spec):
                spec.conditional = spec.classes > 0

            @hookimpl
            def build_generator(self, spec):
                return network(spec)

        shelf.add(Own)
        return Sampler.load(file(generator={"use": "Own"}, **changes), "cpu")

    return make


def loaded(name, data):
    """Load an exported file as another program does. Return the function and the note."""
    if name == "onnx":
        onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
        onnx.checker.check_model(onnx.load_from_string(data))
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        note = json.loads(session.get_modelmeta().custom_metadata_map["gankit"])
        assert note["opset"] == onnx.load_from_string(data).opset_import[0].version
        assert [one.shape[0] for one in session.get_inputs()] == ["batch"] * len(note["inputs"])
        names = list(note["inputs"])
        assert [one.name for one in session.get_inputs()] == names
        return lambda *x: torch.from_numpy(
            session.run(["images"], {n: t.numpy() for n, t in zip(names, x, strict=True)})[0]
        ), note
    extra = {NOTE: ""}
    if name == "torchscript":
        function = torch.jit.load(io.BytesIO(data), _extra_files=extra)
    else:
        function = torch.export.load(io.BytesIO(data), extra_files=extra).module()
    return function, json.loads(extra[NOTE])


def largest_difference(function, sampler, counts=(1, 4, 70), seed=100):
    """Return the largest difference from what `gankit sample` draws."""
    differences = []
    for count in counts:
        condition = sampler.conditions(count)
        z = sampler.latent(count, condition, seed)
        with torch.no_grad():
            images = function(z, *([] if condition is None else [condition]))
        expected = torch.cat(list(sampler.outputs(z, condition)))
        assert images.dtype == torch.float32
        differences.append((images - expected).abs().max().item())
    return max(differences)


@pytest.mark.parametrize(
    ("name", "classes"), [("torchscript", 0), ("torchscript", 3), ("torch-export", 3), ("onnx", 3)]
)
def test_other_programs_draw_the_images_of_the_network(sampler_of, name, classes):
    if name == "onnx":
        pytest.importorskip("onnxscript")
    sampler = sampler_of(Linear, data={"classes": classes})
    result = export(sampler, name, {"settings": []})
    function, note = loaded(name, result.data)
    assert note == result.note
    assert note["recipe"] == "toy"
    assert note["iteration"] == 3
    assert note["settings"] == []
    assert note["output"] == "images: float32 (batch, 1, 8, 8), values in [-1, 1]"
    assert note["class_names"] == ["a", "b", "c"][:classes]
    size = sampler.spec.latent_size
    labels = {"labels": "int64 (batch,), 3 classes: a, b, c"} if classes else {}
    assert note["inputs"] == {"z": f"float32 (batch, {size}), drawn from the prior Normal", **labels}
    assert largest_difference(function, sampler) < 1e-6
    assert result.difference < 1e-6


@pytest.mark.parametrize("name", ["torchscript", "torch-export"])
def test_noise_is_drawn_once_and_the_same_for_all_images(sampler_of, name):
    sampler = sampler_of(Noisy, data={"classes": 0})
    state = torch.get_rng_state()
    function, _ = loaded(name, export(sampler, name, {}).data)
    assert torch.equal(torch.get_rng_state(), state)
    z = sampler.latent(4, None, 0)
    with torch.no_grad():
        images = function(z)
        assert torch.equal(function(z), images)
        # An image does not depend on the other images of its batch.
        assert torch.allclose(function(z[2:3]), images[2:3], atol=1e-6)
        # The noise is that of seed 0: first N(0, 1), then uniform numbers, for one image.
        torch.manual_seed(0)
        pixels = sampler.spec.shape[1] * sampler.spec.shape[2]
        noise = torch.randn(1, pixels) + torch.rand(1, pixels)
        torch.testing.assert_close(images, (sampler.generator.linear(z) + noise).tanh().view(-1, *sampler.spec.shape))


def test_constant_noise_has_the_requested_shape_and_type():
    noise = ConstantNoise()
    x = torch.zeros(3, 2, 5, dtype=torch.float64)
    calls = [
        lambda: torch.randn(3, 2, 5),
        lambda: torch.randn((3, 2, 5)),
        lambda: torch.rand(3, 2, 5, dtype=torch.float64),
        lambda: torch.randn_like(x),
        lambda: torch.rand_like(x, dtype=torch.float32),
    ]
    with noise:
        first = [call() for call in calls]
    assert [y.dtype for y in first] == [torch.float32, torch.float32, torch.float64, torch.float64, torch.float32]
    with noise:
        again = [call() for call in calls]
    for one, other in zip(first, again, strict=True):
        assert one.shape == (3, 2, 5)
        assert torch.equal(one, other)
        assert torch.equal(one[0], one[2])
        assert not torch.equal(one[0, 0], one[0, 1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(torch.randn(3, 2, 5)[0], torch.randn(3, 2, 5)[1])


@pytest.mark.parametrize(
    ("network", "name", "sentence"),
    [
        (FixedBatch, "torchscript", r"--torchscript: the generator cannot be exported .* use x.shape\[0\]"),
        (FixedBatch, "torch-export", r"--torch-export: the generator cannot be exported .* use x.shape\[0\]"),
        (OtherNoise, "torchscript", r"random numbers that cannot be exported; draw them with torch.randn"),
        (
            Count,
            "torchscript",
            r"differ from those of the network by up to .*, and 1e-03 is allowed; no file is written",
        ),
    ],
)
def test_generators_that_cannot_be_exported_are_refused(sampler_of, network, name, sentence, capfd):
    sampler = sampler_of(network, data={"classes": 0}, train={"iterations": 1})
    with pytest.raises(GankitError, match=sentence):
        export(sampler, name, {})
    assert capfd.readouterr() == ("", "")


def test_a_wrong_file_is_found(sampler_of, monkeypatch):
    """Write another network than the one that is compared: its images differ by a little more than allowed."""
    sampler = sampler_of(Linear, data={"classes": 0})

    def shifted(amount):
        class Shifted(ExportedGenerator):
            def forward(self, z, labels=None):
                return super().forward(z, labels) + amount

        write = lambda network, *rest: FORMATS["torchscript"].write(Shifted(sampler.generator), *rest)  # noqa: E731
        return Format(".pt", write, FORMATS["torchscript"].load)

    monkeypatch.setitem(FORMATS, "near", shifted(0.0009))
    monkeypatch.setitem(FORMATS, "far", shifted(0.0011))
    assert export(sampler, "near", {}).difference == pytest.approx(0.0009, abs=1e-5)
    with pytest.raises(GankitError, match=r"by up to 1.1e-03"):
        export(sampler, "far", {})
    sampler.generator.linear.bias.data[5] = math.nan
    with pytest.raises(GankitError, match="by up to nan, and 1e-03 is allowed"):
        export(sampler, "near", {})


def test_difference_is_nan_if_an_image_is_nan_and_shapes_must_be_equal():
    nan = torch.tensor([[0.0, float("nan")]])
    assert str(difference_of(lambda: nan, lambda: torch.zeros(1, 2), ())) == "nan"
    with pytest.raises(ValueError, match=r"shape \(1, 2\) instead of \(1, 3\)"):
        difference_of(lambda: nan, lambda: torch.zeros(1, 3), ())


def test_modes_warnings_and_logging_are_restored(sampler_of):
    sampler = sampler_of(Linear, data={"classes": 0})
    sampler.generator.train()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        export(sampler, "torchscript", {})
    assert seen == []
    assert sampler.generator.training
    assert logging.root.manager.disable == 0


def test_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for installed in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, installed, sys)
    with pytest.raises(InputError, match=r"^--onnx: onnxruntime is not installed; run `pip install 'gankit\[onnx\]'`"):
        module.require_onnx()
