"""Kinds of condition: what fits their description, and the rows for what a user asks for."""

import json
import math
import re

import pytest
import torch

from gankit.errors import InputError
from gankit.plugin.condition import (
    ClassCondition,
    ImageCondition,
    TokenCondition,
    VectorCondition,
    evenly_spaced,
    from_card,
    requested_by,
)

CLASSES = ClassCondition(("cat", "dog", "10"))
PEOPLE = VectorCondition(("age", "smile", "hair=black", "hair=red"), ((20, 60), (0, 1), (0, 1), (0, 1)))
TEXTS = TokenCondition(("a", "red", "circle"), 4)
IMAGES = ImageCondition((1, 2, 2))
ALL = [CLASSES, PEOPLE, TEXTS, IMAGES]


@pytest.mark.parametrize("condition", ALL, ids=lambda condition: condition.kind)
def test_a_description_survives_json(condition):
    assert from_card(json.loads(json.dumps(condition.to_card()))) == condition
    assert from_card(None) is None


@pytest.mark.parametrize("condition", ALL, ids=lambda condition: condition.kind)
def test_blank_rows_and_rows_for_samples_fit_the_description(condition):
    blank = condition.blank(5)
    assert blank.shape == (5, *condition.shape)
    assert condition.mistake(blank) is None
    rows = condition.rows(7, {}, blank)
    assert rows.shape == (7, *condition.shape)
    assert condition.mistake(rows) is None


@pytest.mark.parametrize(
    ("condition", "rows", "found", "expected"),
    [
        (CLASSES, torch.zeros(2), r"is torch.float32 of shape \(2,\)", r"torch.int64 of shape \(2,\)"),
        (CLASSES, torch.tensor([0, 3]), "has labels from 0 to 3", "labels from 0 to 2"),
        (CLASSES, torch.tensor([-1, 2]), "has labels from -1 to 2", "labels from 0 to 2"),
        (PEOPLE, torch.zeros(2, 3), r"is torch.float32 of shape \(2, 3\)", r"torch.float32 of shape \(2, 4\)"),
        (PEOPLE, torch.tensor([[20.0, 0, 1, 0]]), "has numbers from 0 to 20", "near -1 to 1; `VectorCondition.scaled`"),
        (PEOPLE, torch.full((2, 4), torch.nan), "has numbers that are NaN or infinite", "finite numbers"),
        (TEXTS, torch.tensor([[1, 2, 4, 0]]), "has words from 0 to 4", "numbers from 0 to 3"),
        (IMAGES, torch.full((2, 1, 2, 2), 3.0), "has source images with values from 3 to 3", "in floating point from"),
        (IMAGES, torch.zeros(2, 3, 2, 2), r"is torch.float32 of shape \(2, 3, 2, 2\)", r"\(2, 1, 2, 2\)"),
    ],
)
def test_rows_that_contradict_the_description(condition, rows, found, expected):
    mistake = condition.mistake(rows)
    assert mistake is not None
    assert re.search(found, mistake[0])
    assert re.search(expected, mistake[1])


def test_a_class_is_asked_for_by_name_or_number():
    assert CLASSES.rows(2, {"class": "dog"}, None).tolist() == [1, 1]
    assert CLASSES.rows(2, {"class": "0"}, None).tolist() == [0, 0]
    assert CLASSES.rows(2, {"class": "10"}, None).tolist() == [2, 2]
    assert CLASSES.rows(4, {}, None).tolist() == [0, 1, 2, 0]


def test_numbers_are_asked_for_in_the_users_units():
    examples = torch.tensor([[0.25, 1.0, 1.0, -1.0], [-0.5, -1.0, -1.0, 1.0]])
    rows = PEOPLE.rows(3, {"age": "30", "hair": "red"}, examples)
    assert rows.tolist() == [[-0.5, 1, -1, 1], [-0.5, -1, -1, 1], [-0.5, 1, -1, 1]]
    assert examples[0].tolist() == [0.25, 1.0, 1.0, -1.0]
    everything = PEOPLE.rows(1, {"age": 60, "smile": 0.5, "hair": "black"}, None)
    assert everything.tolist() == [[1, 0, 1, -1]]
    assert VectorCondition(("x",)).rows(1, {"x": 3}, None).tolist() == [[3]]


def test_the_ranges_of_numbers_become_minus_one_and_one():
    values = torch.tensor([[20.0, 1, 0, 1], [60, 0, 1, 0], [40, 0.5, 0.5, 0.5]])
    assert PEOPLE.scaled(values).tolist() == [[-1, 1, -1, 1], [1, -1, 1, -1], [0, 0, 0, 0]]
    assert VectorCondition(("x",)).scaled(torch.tensor([[7.0]])).tolist() == [[7]]


def test_a_text_becomes_the_numbers_of_its_words():
    assert TEXTS.rows(2, {"text": "a red  circle"}, None).tolist() == [[1, 2, 3, 0]] * 2
    assert TEXTS.text(TEXTS.tokens("circle a")) == "circle a"


@pytest.mark.parametrize(
    ("condition", "requested", "message"),
    [
        (CLASSES, {"class": "cow"}, r"^class 'cow': there are cat, dog, 10$"),
        (CLASSES, {"age": "3"}, r"^age: the generator takes classes; use --class with one of cat, dog, 10$"),
        (PEOPLE, {"age": "old"}, r"^age: 'old' is not a number$"),
        (PEOPLE, {"age": "nan"}, r"^age: 'nan' is not a number$"),
        (PEOPLE, {"age": None}, r"^age: None is not a number$"),
        (PEOPLE, {"age": "1e300"}, r"^age: '1e300' is too large$"),
        (PEOPLE, {"age": "inf"}, r"^age: 'inf' is too large$"),
        (PEOPLE, {"hair": "blue"}, r"^hair: 'blue' is unknown; there are black, red$"),
        (PEOPLE, {"smil": "1"}, r"^smil: .*did you mean 'smile'\? it has age, smile, hair$"),
        (PEOPLE, {"hair=red": "1"}, r"^hair=red: the generator has no such condition"),
        (PEOPLE, {"age": "30"}, r"^the generator needs smile, hair; set each, for example smile=1$"),
        (TEXTS, {"text": "a blue circle"}, r"^text: the word 'blue' is unknown; the known words are a, red, circle$"),
        (TEXTS, {"text": "a a a a a"}, r"has 5 words; at most 4 are possible$"),
        (TEXTS, {"text": " "}, r"^text: ' ' has no words; name at least one of a, red, circle$"),
        (TEXTS, {}, r"^the generator needs a text, and none is given; add --text$"),
        (IMAGES, {}, r"^the generator needs source images; name a folder of them with --input$"),
        (IMAGES, {"class": "1"}, r"^class: the generator has no such condition; it takes source images$"),
    ],
)
def test_what_a_generator_does_not_have_is_one_sentence(condition, requested, message):
    with pytest.raises(InputError, match=message):
        condition.rows(2, requested, None)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ClassCondition, [()]),
        (ClassCondition, ["ab"]),
        (ClassCondition, [["a", "b"]]),
        (ClassCondition, [("a", "a")]),
        (ClassCondition, [("a", 1)]),
        (ClassCondition, [("a", "")]),
        (VectorCondition, [()]),
        (VectorCondition, [("a", "a")]),
        (VectorCondition, [("a", "b"), ((0, 1),)]),
        (VectorCondition, [("a",), ((1, 1),)]),
        (VectorCondition, [("a",), ((math.nan, 1),)]),
        (VectorCondition, [("a",), ((0, math.inf),)]),
        (VectorCondition, [("a",), (3,)]),
        (VectorCondition, [("a",), (("0", "1"),)]),
        (TokenCondition, [("a",), 0]),
        (TokenCondition, [("a",), 10**13]),
        (TokenCondition, [("a",), 2.0]),
        (TokenCondition, [("a b",), 2]),
        (TokenCondition, [(("a",),), 2]),
        (ImageCondition, [(3, 8)]),
        (ImageCondition, [[3, 8, 8]]),
        (ImageCondition, [(3, 8, 0)]),
    ],
)
def test_wrong_descriptions_are_refused(kind, arguments):
    with pytest.raises(InputError, match=f"^{kind.__name__}"):
        kind(*arguments)


def test_words_of_numbers_without_ranges_are_ones_and_zeros():
    condition = VectorCondition(("c=red", "c=blue", "x"))
    assert condition.rows(1, {"c": "blue", "x": 5}, None).tolist() == [[0, 1, 5]]
    opposite = VectorCondition(("c=red", "c=blue"), ((-1, 1), (-1, 1)))
    assert opposite.rows(1, {"c": "red"}, None).tolist() == [[1, 0]]


def test_descriptions_for_the_user():
    assert CLASSES.describe() == "3 classes: cat, dog, 10"
    assert CLASSES.describe(names=False) == "3 classes"
    assert VectorCondition(tuple("abcdefghijkl")).describe() == "12 numbers: a, b, c, d, e, f, g, h, i, j, ..."
    assert PEOPLE.describe() == "4 numbers: age (20 to 60), smile (0 to 1), hair=black, hair=red"
    assert TEXTS.describe() == "texts of up to 4 words, 3 known words"
    assert IMAGES.describe() == "source images of 1x2x2"
    assert [CLASSES.name_of(torch.tensor(1)), TEXTS.name_of(torch.tensor([2, 3, 0, 0]))] == ["dog", "red circle"]


@pytest.mark.parametrize(("total", "count", "expected"), [(9, 3, [0, 4, 8]), (2, 2, [0, 1]), (7, 1, [0])])
def test_evenly_spaced_indices(total, count, expected):
    assert evenly_spaced(total, count).tolist() == expected


def test_what_a_user_wants():
    assert requested_by(None) == {}
    assert requested_by("cat") == requested_by({"class": "cat"}) == {"class": "cat"}
    assert requested_by(3) == {"class": "3"}
    with pytest.raises(InputError, match="1: the name of a condition must be a text"):
        requested_by({1: 2})


CAPTIONS = ("A red circle.", "A circle, RED!", "the painter's red-green circle")


def test_the_words_of_texts_are_in_lower_case_without_punctuation_and_sorted_by_frequency():
    condition = TokenCondition.from_texts(CAPTIONS, length=3)
    assert condition.words == ("circle", "red", "a", "green", "painters", "the")
    assert TokenCondition.from_texts(CAPTIONS, 3, min_count=2).words == ("circle", "red", "a")
    with pytest.raises(InputError, match="no word that occurs 4 times"):
        TokenCondition.from_texts(CAPTIONS, 3, min_count=4)


def test_texts_of_a_dataset_are_cut_and_lose_unknown_words():
    condition = TokenCondition.from_texts(CAPTIONS, 3, min_count=2)
    assert condition.text(condition.encode("A red green circle")) == "a red circle"
    assert condition.text(condition.encode("a red circle a")) == "a red circle"
    assert condition.encode("RED?").tolist() == [2, 0, 0]
    assert condition.encode("").tolist() == [0, 0, 0]


def test_a_requested_text_may_have_capitals_and_punctuation():
    assert torch.equal(TEXTS.tokens("A red-circle!"), TEXTS.tokens("a red circle"))
    own = TokenCondition(("C++", "c"), 2)  # words that the rule would split are found as they are
    assert own.tokens("C++ C").tolist() == [1, 2]


def test_unknown_words_are_named_in_one_sentence_with_the_nearest_words():
    condition = TokenCondition(("a", "blue", "square", "squares"), 4)
    with pytest.raises(InputError) as error:
        condition.tokens("a bleu sqare")
    assert str(error.value) == (
        "text: the words 'bleu' and 'sqare' are unknown; near 'bleu': blue; near 'sqare': square, squares"
    )
    with pytest.raises(InputError, match="the word 'xyz' is unknown; the known words are a, blue, square, squares"):
        condition.tokens("a xyz")
