"""Data that differ from their description are refused when they are read."""

import pytest
import torch

from gankit import Dataset, InputError
from gankit.data.prepared import prepare
from gankit.plugin.condition import ClassCondition

FLOATS = torch.zeros(4, 1, 2, 2)


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (
            FLOATS,
            torch.zeros(4),
            ("a",),
            "the condition is torch.float32 .*, but .* torch.int64 of shape",
        ),
        (FLOATS, torch.zeros(3, dtype=torch.int64), ("a",), "has loaded 4 images, and a condition of 3 rows"),
        (FLOATS, torch.full((4,), 2), ("a", "b"), "the condition has labels from 2 to 2, but .* from 0 to 1"),
        (FLOATS, torch.full((4,), -1), ("a", "b"), "the condition has labels from -1 to -1, but .* from 0 to 1"),
        (FLOATS, None, ("a",), "there is no condition, but the data plugin describes it as 1 class"),
        (FLOATS, torch.zeros(4).long(), (), "there is a condition, but the data plugin describes it as no condition"),
        (50 + FLOATS, None, (), "the images have values from 50 to 50, but .* floating point from -1 to 1"),
        (FLOATS * torch.nan, None, (), "the images have values from nan to nan, but"),
        (
            FLOATS.long(),
            None,
            (),
            "the images have values of type torch.int64, but .* uint8, uint16, or floating point from -1",
        ),
        (torch.zeros(4, 3, 2, 2), None, (), r"the images have shape \(4, 3, 2, 2\), but .* \(N, 1, 2, 2\)"),
        (torch.zeros(1, 2, 2), None, (), r"the images have shape \(1, 2, 2\), but"),
        (FLOATS[:0], None, (), "the data plugin has loaded no images"),
    ],
)
def test_data_that_differ_from_their_description_are_refused(images, labels, names, message, tmp_path):
    dataset = Dataset(
        (1, 2, 2), ClassCondition.of(names), lambda: (images, labels), lambda: iter([(images, labels)]), 10
    )
    with pytest.raises(InputError, match=message):
        dataset.read()
    with pytest.raises(InputError, match=message):
        list(dataset.read_chunks())
    with pytest.raises(InputError, match=message):
        prepare(dataset, tmp_path / "x.safetensors", "test")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "loaded",
    [
        FLOATS,
        (FLOATS,),
        (FLOATS.numpy(), None),
        None,
        (FLOATS, [0, 0, 0, 0]),
        (FLOATS, None, None),
        (FLOATS, None, {"x": 3}),
        (FLOATS, None, {"x": torch.tensor(3)}),
    ],
)
def test_other_values_than_images_and_labels_are_refused(loaded):
    with pytest.raises(InputError, match=r"the data plugin loads \w+; it must load a tuple \(images, condition\) or"):
        Dataset((1, 2, 2), None, lambda: loaded).read()


@pytest.mark.parametrize("images", [FLOATS, FLOATS - 1, FLOATS.byte() + 255])
def test_data_that_match_are_unchanged(images):
    labels = torch.tensor([0, 1, 1, 0])
    read, read_labels, _ = Dataset((1, 2, 2), ClassCondition(("a", "b")), lambda: (images, labels)).read()
    assert read is images
    assert read_labels is labels


def test_a_condition_of_another_class_is_refused():
    for condition in (("a", "b"), "ab", 3, object()):
        with pytest.raises(InputError, match="the second argument is a condition"):
            Dataset((1, 2, 2), condition, lambda: (FLOATS, None))


def test_fields_that_differ_from_the_description_are_refused():
    for names, fields, message in (
        (("x",), {}, "the fields are none, but the data plugin describes them as x"),
        ((), {"x": FLOATS}, "the fields are x, but the data plugin describes them as none"),
        (("x",), {"x": FLOATS[:2]}, "has loaded 4 images, and 2 rows of 'x'"),
    ):
        with pytest.raises(InputError, match=message):
            Dataset((1, 2, 2), None, lambda fields=fields: (FLOATS, None, fields), fields=names).read()
