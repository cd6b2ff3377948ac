"""Listing of image files: classes from folders and from files with labels."""

import csv
import io
import json
import zipfile

import pytest

from gankit import InputError, VectorCondition
from gankit_plugins.data.folder import open_files
from gankit_plugins.data.listing import common_folder, list_images, natural_order
from tests.plugins.data.test_folder import tree, zipped


def listings(top, names, classes=None):
    """Yield the listing of the same files in a folder and in a zip file."""
    for path in (tree(top / "folder", *names), zipped(top / "file.zip", *names)):
        with open_files(path) as files:
            yield list_images(files, classes, path)


def with_labels(top, names, content, at="dataset.json"):
    """Return the paths of a folder and of a zip file with a dataset.json."""
    folder = tree(top / "folder", *names)
    (folder / at).write_text(content if isinstance(content, str) else json.dumps(content))
    path = zipped(top / "file.zip", *names)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(folder / at, at)
    return folder, path


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["1.png", "2.png"], None, []),
        (["cats/1.png", "cats/2.png", "dogs/1.png"], True, ["cats", "dogs"]),
        (["cats/1.png", "dogs/1.png"], False, []),
        (["cats/in/2.png", "cats/out/1.png", "dogs/3.png"], None, ["cats", "dogs"]),
        (["1.png", "cats/1.png"], False, []),
        (["Zoo/1.png", "zoo-1/3.png", "zoo/2.png"], None, ["Zoo", "zoo", "zoo-1"]),
        # A folder that contains everything is skipped.
        (["only/1.png"], None, []),
        (["only/1.png"], True, ["only"]),
        (["images/1.png", "images/2.png", "README.txt"], None, []),
        (["pets/cats/1.png", "pets/dogs/2.png", "README.txt"], None, ["cats", "dogs"]),
        (["x/pets/cats/1.png", "x/pets/dogs/2.png"], None, ["cats", "dogs"]),
        # Numbers are in natural order.
        ([f"{k}/a.png" for k in range(12)], None, [str(k) for k in range(12)]),
        (["class10/a.png", "class9/a.png", "b/a.png"], None, ["b", "class9", "class10"]),
    ],
)
def test_folders_are_classes_in_folders_and_zip_files(tmp_path, names, classes, expected):
    for listing in listings(tmp_path, names, classes):
        assert listing.total == sum(name.endswith(".png") for name in names)
        assert listing.class_names == tuple(expected)
        if expected:
            found = [listing.class_of(name) for name in names if name.endswith(".png")]
            assert sorted(set(found), key=natural_order) == expected
            assert all(f"{one}/" in name for one, name in zip(found, names, strict=False))


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (["1.png", "cats/2.png"], None, r"1\.png is not in the folder of a class; .*`classes = false`"),
        (["1.png", "2.png"], True, r"1\.png is not in the folder of a class"),
        (["a/x/1.png", "a/2.png"], None, r"a/2\.png is not in the folder of a class"),
        (["a.heic", "b.heic", "c.txt"], None, r"contains no images; .*, and these files are 2 \.heic, 1 \.txt"),
    ],
)
def test_unusable_folders_are_refused(tmp_path, names, classes, message):
    with pytest.raises(InputError, match=message):
        list(listings(tmp_path, names, classes))


def test_empty_folders_and_parts_of_a_dataset_are_named(tmp_path):
    for listing in listings(tmp_path, ["train/1.png", "val/2.png", "notes/x.txt"]):
        assert listing.class_names == ("train", "val")
        (parts,) = [message for message in listing.messages if "parts of a dataset" in message]
        assert parts.startswith("the classes include train, val, which look like parts of a dataset")
    folder = tree(tmp_path / "y", "a/1.png", "c/1.png")
    (folder / "b").mkdir()
    for path in (folder, zipped(tmp_path / "y.zip", "a/1.png", "b/", "c/1.png")):
        with open_files(path) as files:
            assert list_images(files, None, path).messages == ("folders with no images are not classes: b",)
            assert list_images(files, False, path).messages == ()


# StyleGAN's dataset.json

FILES = ["00000/img0.png", "00000/img1.png", "00001/img2.png"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[FILES[0], 2], [FILES[1], 0], [FILES[2], 1]], {"0": 1, "1": 2, "2": 0}),
        ({FILES[0]: 0, FILES[1]: 10, FILES[2]: 9}, {"0": 0, "9": 2, "10": 1}),
        ([["00000\\img0.png", 0], ["00000\\img1.png", 1], ["00001\\img2.png", 2]], {"0": 0, "1": 1, "2": 2}),
        ([[FILES[0], [0, 1.0]], [FILES[1], [1, 0]], [FILES[2], [1.0, 0]], ["gone.png", [1, 0]]], {"0": 1, "1": 0}),
    ],
)
@pytest.mark.parametrize("outer", ["", "wrapped/"])
def test_labels_of_stylegan(tmp_path, labels, expected, outer):
    content = {"labels": labels}
    for path in with_labels(tmp_path, [outer + file for file in FILES], content, f"{outer}dataset.json"):
        with open_files(path) as files:
            listing = list_images(files, None, path)
            assert listing.class_names == tuple(expected)
            for name, number in expected.items():
                assert listing.class_of(outer + FILES[number]) == name
            assert not listing.passed_over
            assert list_images(files, False, path).class_names == ()


def test_missing_numbers_are_named(tmp_path):
    content = {"labels": [[file, number] for file, number in zip(FILES, (0, 5, 5), strict=True)]}
    for path in with_labels(tmp_path, FILES, content):
        with open_files(path) as files:
            (message,) = list_images(files, None, path).messages
            assert message == "the labels in dataset.json are not 0 to 1; the classes are named by their labels: 0, 5"


def test_without_labels_the_folders_of_stylegan_are_no_classes_unless_the_recipe_says_so(tmp_path):
    for path in with_labels(tmp_path, FILES, {"labels": None}):
        with open_files(path) as files:
            listing = list_images(files, None, path)
            assert listing.class_names == ()
            assert listing.messages == (
                "dataset.json has no labels, so the images have no classes; with `classes = true`, folders are classes",
            )
            assert list_images(files, True, path).class_names == ("00000", "00001")


def test_an_unreadable_file_of_labels_is_one_sentence(tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", b"")
        archive.writestr("dataset.json", b"{}" + b" " * 100)
    content = path.read_bytes()
    start = content.index(b"dataset.json") + len(b"dataset.json")
    path.write_bytes(content[:start] + b"\xff" * 4 + content[start + 4 :])
    with open_files(path) as files, pytest.raises(InputError, match=r"damaged\.zip: dataset\.json cannot be read: "):
        list_images(files, None, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "dataset.json cannot be read as labels of StyleGAN"),
        ([1], "dataset.json cannot be read as labels of StyleGAN"),
        ({"labels": [1]}, "dataset.json cannot be read as labels of StyleGAN"),
        ({"labels": [[FILES[0], 0]]}, "has no label for 00000/img1.png, 00001/img2.png; add the labels, or set"),
        ({"labels": [[file, -1] for file in FILES]}, "has the label -1; labels are class numbers from 0 or one-hot"),
        ({"labels": [[file, [0.5, 0.5]] for file in FILES]}, r"has the label \[0.5, 0.5\]"),
    ],
)
def test_unusable_labels_are_refused(tmp_path, content, message):
    for path in with_labels(tmp_path, FILES, content):
        with open_files(path) as files:
            with pytest.raises(InputError, match=message):
                list_images(files, None, path)
            assert list_images(files, False, path).total == 3


@pytest.mark.parametrize(
    ("folders", "expected"),
    [([""], ""), (["", "a"], ""), (["a"], "a/"), (["a/b", "a/c/d"], "a/"), (["a", "a/c"], "a/"), (["ab", "a"], "")],
)
def test_common_folder(folders, expected):
    assert common_folder(folders) == expected


# labels.csv and labels.json

CLASSES = {FILES[0]: "red fox", FILES[1]: "2", FILES[2]: "10"}


def csv_of(rows):
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", csv_of([("file", "class"), *CLASSES.items(), ("gone.png", "x")])),
        ("labels.csv", "\ufeff" + csv_of([("class", "file"), *((c, f) for f, c in CLASSES.items())]) + "\n\n"),
        ("labels.csv", csv_of([(" file ", "class"), *((f.replace("/", "\\"), c) for f, c in CLASSES.items())])),
        ("labels.json", CLASSES | {"gone.png": "x"}),
        ("labels.json", {f"./{file}": name for file, name in CLASSES.items()}),
        ("labels.json", CLASSES | {FILES[1]: 2, FILES[2]: 10}),
    ],
)
@pytest.mark.parametrize("outer", ["", "wrapped/"])
def test_classes_from_a_file_with_labels(tmp_path, name, content, outer):
    for path in with_labels(tmp_path, [outer + file for file in FILES], content, f"{outer}{name}"):
        with open_files(path) as files:
            listing = list_images(files, None, path)
            assert listing.class_names == ("2", "10", "red fox")
            assert [listing.class_of(outer + file) for file in FILES] == list(CLASSES.values())
            assert not listing.passed_over
            assert not listing.messages
            assert list_images(files, False, path).class_names == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", "", "labels.csv begins with nothing; its first row must be: file,class"),
        ("labels.csv", "image,class\n", "begins with image, class; its first row must be: file,class"),
        ("labels.csv", f"file,class\n{FILES[0]}\n", f"row 2: '{FILES[0]}' needs a value for each of file, class"),
        ("labels.csv", f"file,class\n{FILES[0]},\n", "row 2: .* needs a value for each of file, class"),
        ("labels.csv", f"file,class\n\n{FILES[0]},a,b\n", "row 3: .* needs a value for each of file, class"),
        ("labels.csv", f"file,class\n{FILES[0]},a\n{FILES[0]},b\n", "row 3: .* has the labels a and b; keep one"),
        ("labels.csv", f"file,class\n{FILES[0]},a\n", "labels.csv has no label for 00000/img1.png, 00001/img2.png"),
        ("labels.json", "{", "labels.json cannot be read as labels"),
        ("labels.json", {FILES[0]: [1]}, "labels.json cannot be read as labels"),
        ("labels.json", [FILES[0]], "labels.json cannot be read as labels"),
        ("labels.json", {FILES[0]: True}, "labels.json cannot be read as labels"),
        (
            "labels.csv",
            f"file,label\n{FILES[0]},cat\n",
            "the column 'label' has words; if they are classes, call it class",
        ),
        (
            "labels.json",
            {f: {"a": "nan" if f == FILES[0] else "3"} for f in FILES},
            "'a' has numbers, and the word 'nan'",
        ),
        ("labels.csv", "file,age\n", "labels.csv has no labels; add them, or set"),
        ("labels.csv", "file\n", "begins with file; its first row must be: file,class, or file and a different name"),
        ("labels.csv", "file,age,age\n", "begins with file, age, age; its first row must be"),
        ("labels.csv", f"file,age,hair\n{FILES[0]},3,\n", "row 2: .* needs a value for each of file, age, hair"),
        ("labels.csv", f"file,age\n{FILES[0]},3\n", "labels.csv has no label for 00000/img1.png, 00001/img2.png"),
        ("labels.json", {FILES[0]: {"age": 1}, FILES[1]: {"aeg": 1}}, "img0.png and .* have different attributes"),
        ("labels.json", {FILES[0]: {"age": [1]}}, "labels.json cannot be read as labels"),
        ("labels.json", {FILES[0]: {}}, "labels.json cannot be read as labels"),
        (
            "labels.json",
            {file: {"a=b": 1} for file in FILES},
            "labels.json has the attribute 'a=b'; rename it, without '='",
        ),
    ],
)
def test_unusable_files_with_labels_are_refused(tmp_path, name, content, message):
    for path in with_labels(tmp_path, FILES, content, name):
        with open_files(path) as files:
            with pytest.raises(InputError, match=message):
                list_images(files, None, path)
            assert list_images(files, False, path).total == 3


AGES = [("file", "age", "hair", "class"), *zip(FILES, ("20", "60", "30"), ("red", "black", "red"), "abb", strict=True)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", csv_of([*AGES, ("gone.png", "90", "grey", "c")])),
        ("labels.json", {file: {"age": float(age), "hair": hair, "class": c} for file, age, hair, c in AGES[1:]}),
    ],
)
def test_attributes_from_a_file_with_labels(tmp_path, name, content):
    for path in with_labels(tmp_path, FILES, content, name):
        with open_files(path) as files:
            listing = list_images(files, None, path)
            assert listing.condition == VectorCondition(
                ("age", "hair=black", "hair=red", "class=a", "class=b"), ((20, 60), *[(0, 1)] * 4)
            )
            rows = listing.rows_of([listing.index_of(file) for file in FILES])
            assert rows.tolist() == [[-1, -1, 1, 1, -1], [1, 1, -1, -1, 1], [-0.5, -1, 1, -1, 1]]
            assert listing.index_of("gone.png") is None
            assert listing.class_names == ()
            assert list_images(files, False, path).condition is None


def test_attributes_that_are_equal_in_all_images(tmp_path):
    content = {file: {"age": 7, "smile": True, "hair": "red"} for file in FILES}
    (path, _) = with_labels(tmp_path, FILES, content, "labels.json")
    with open_files(path) as files:
        listing = list_images(files, None, path)
    assert listing.condition == VectorCondition(("age", "smile", "hair=red"), ((6, 8), (0, 2), (0, 1)))
    assert listing.rows_of([listing.index_of(FILES[0])]).tolist() == [[0, 0, 1]]


def test_two_files_with_labels_are_refused(tmp_path):
    folder, _ = with_labels(tmp_path, FILES, CLASSES, "labels.json")
    (folder / "dataset.json").write_text("{}")
    with open_files(folder) as files, pytest.raises(InputError, match=r"labels.json and dataset.json both have labels"):
        list_images(files, None, folder)


def test_labels_that_are_not_text_are_refused(tmp_path):
    folder = tree(tmp_path / "folder", *FILES)
    (folder / "labels.csv").write_bytes(b"file,class\n\xff\xfe")
    with open_files(folder) as files, pytest.raises(InputError, match=r"labels.csv is not CSV in UTF-8"):
        list_images(files, None, folder)


def test_attributes_with_many_words_are_refused(tmp_path):
    names = [f"{number}.png" for number in range(101)]
    folder = tree(tmp_path / "folder", *names)
    (folder / "labels.json").write_text(json.dumps({name: {"text": f"word {name}"} for name in names}))
    with open_files(folder) as files, pytest.raises(InputError, match=r"'text' has 101 different words; at most 100"):
        list_images(files, None, folder)
