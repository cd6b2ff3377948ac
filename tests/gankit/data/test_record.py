"""Records of data: equal for equal data, and different for every difference that they cover."""

import pytest
import torch

from gankit.data import record
from gankit.data.record import changed_data, data_record, other_data
from gankit.plugin.condition import ClassCondition, ImageCondition, TokenCondition, VectorCondition
from gankit.plugin.dataset import Rows

NAMES = ("cat", "dog")


def images(count=12):
    return torch.arange(count * 3 * 4 * 4).remainder(251).to(torch.uint8).view(count, 3, 4, 4)


def labels(count=12):
    return torch.arange(count) % 2


def facts(images, labels, names):
    return data_record(Rows(images, labels), ClassCondition.of(names))


def test_equal_data_have_equal_records():
    before, now = facts(images(), labels(), NAMES), facts(images().clone(), labels(), NAMES)
    assert before == now
    assert not other_data(before, now)
    assert not changed_data(before, now)


@pytest.mark.parametrize("row", range(12))
def test_a_change_of_one_pixel_is_seen(row):
    changed = images()
    changed[row, 1, 2, 3] ^= 1
    assert changed_data(facts(images(), labels(), NAMES), facts(changed, labels(), NAMES)) == ["other images"]


def test_a_change_of_one_label_is_seen():
    changed = labels()
    changed[5] = 0
    assert changed_data(facts(images(), labels(), NAMES), facts(images(), changed, NAMES)) == ["other labels"]


def test_the_number_of_images_is_named():
    before, now = facts(images(), labels(), NAMES), facts(images(20), labels(20), NAMES)
    assert changed_data(before, now) == ["20 images instead of 12"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat", "horse"), "other class names (new horse; missing dog)"),
        (("cat", "dog", "elk"), "other class names (new elk)"),
        (("dog", "cat"), "other class names (in another order)"),
    ],
)
def test_other_classes_are_named(names, message):
    assert other_data(facts(images(), labels(), NAMES), facts(images(), labels(), names)) == [message]


def test_another_shape_or_type_is_named():
    before = facts(images(), None, ())
    assert other_data(before, facts(images()[:, :1], None, ())) == ["shape 1x4x4 instead of 3x4x4"]
    assert other_data(before, facts(images().float(), None, ())) == ["dtype float32 instead of uint8"]


def test_of_large_data_evenly_spaced_images_are_hashed(monkeypatch):
    monkeypatch.setattr(record, "HASHED_BYTES", 4 * 48)
    before = facts(images(), labels(), NAMES)
    hashed, skipped = images(), images()
    hashed[[0, 4, 7, 11]] ^= 1  # round(linspace(0, 11, 4))
    skipped[[1, 2, 3, 5, 6, 8, 9, 10]] ^= 1
    assert changed_data(before, facts(hashed, labels(), NAMES)) == ["other images"]
    assert not changed_data(before, facts(skipped, labels(), NAMES))


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (None, ClassCondition(NAMES), "other class names (new cat, dog)"),
        (
            ClassCondition(NAMES),
            VectorCondition(("age",)),
            "another condition (1 number: age, instead of 2 classes: cat, dog)",
        ),
        (
            VectorCondition(("age",), ((0, 1),)),
            VectorCondition(("age",), ((0, 2),)),
            "another condition (1 number: age (0 to 2), instead of 1 number: age (0 to 1))",
        ),
        (
            TokenCondition(("red",), 2),
            TokenCondition(("blue",), 2),
            "other words or ranges of the condition (texts of up to 2 words, 1 known word)",
        ),
        (ImageCondition((1, 2, 2)), None, "another condition (no condition, instead of source images of 1x2x2)"),
    ],
)
def test_another_condition_prevents_a_resume(before, now, message):
    one, two = (data_record(Rows(images()), condition) for condition in (before, now))
    assert other_data(one, two) == [message]


def test_changes_of_a_condition_and_of_fields_are_seen():
    numbers = VectorCondition(("age", "size"))
    rows, fields = torch.arange(24.0).view(12, 2), {"mask": torch.zeros(12, 3)}
    before = data_record(Rows(images(), rows, fields), numbers)
    assert not changed_data(before, data_record(Rows(images(), rows.clone(), fields), numbers))
    assert changed_data(before, data_record(Rows(images(), rows.flip(0), fields), numbers)) == ["other conditions"]
    others = {"mask": torch.ones(12, 3)}
    assert changed_data(before, data_record(Rows(images(), rows, others), numbers)) == ["other fields"]
