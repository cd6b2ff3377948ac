"""LSUN, with a few images in exported folders and in LMDB databases."""

import shlex
import sys
import zipfile

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gankit import InputError
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_dataset, check_documentation
from gankit_plugins.data import images, standard_datasets
from gankit_plugins.data.lsun import Lsun
from tests.plugins.data.image_files import colour, encoded

PHOTOS = {"bedroom": 5, "church_outdoor": 3, "kitchen": 2}
"""Number of images of each category."""


@pytest.fixture
def lmdb():
    return pytest.importorskip("lmdb", reason="needs `pip install 'gankit[lsun]'`")


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """Hide the datasets of this machine."""
    monkeypatch.delenv("GANKIT_DATA", raising=False)
    monkeypatch.setattr(standard_datasets, "CACHE", tmp_path / "cache")


def photo(category, number, split="train"):
    """Return a photo of 24 x 16 pixels: one colour, and red at both sides of the central square."""
    image = Image.new("RGB", (24, 16), (255, 0, 0))
    image.paste(colour_of(category, number, split), (4, 0, 20, 16))
    return image


def colour_of(category, number, split="train"):
    return (20 * number, 40 + 60 * list(PHOTOS).index(category), 7 if split == "train" else 99)


def key(number):
    """Return a key like those of LSUN: 40 hexadecimal digits. The last image has the smallest key."""
    return f"{15 - number:x}bc{number:037x}"


def dataset(path=None, **settings):
    return Lsun(Lsun.Config(path=path, resolution=settings.pop("resolution", 8), **settings)).load_data()


def write_folders(top, categories=tuple(PHOTOS)):
    for category in categories:
        (top / category).mkdir(parents=True)
        for number in range(PHOTOS[category]):
            photo(category, number).save(top / category / f"{key(number)}.webp", lossless=True)
    return top


def write_database(lmdb, folder, category, split="train", extra=()):
    with lmdb.open(str(folder), map_size=1 << 22) as database, database.begin(write=True) as transaction:
        for number in range(PHOTOS[category]):
            content = encoded(photo(category, number, split), "WEBP", lossless=True)
            transaction.put(key(number).encode(), content)
        for name, content in extra:
            transaction.put(name, content)
    return folder


def write_databases(lmdb, top):
    top.mkdir()
    for category in PHOTOS:
        for split in ("train", "val"):
            write_database(lmdb, top / f"{category}_{split}_lmdb", category, split)
    write_database(lmdb, top / "test_lmdb", "bedroom")
    return top


def zipped(top, path, inside=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*.webp")):
            archive.write(file, inside + str(file.relative_to(top)))
    return path


def expected(*categories, split="train"):
    """Return the colours and labels of the images of some categories, by the order of keys."""
    pairs = [
        (list(colour_of(category, number, split)), label)
        for label, category in enumerate(categories)
        for number in reversed(range(PHOTOS[category]))
    ]
    return [one for one, _ in pairs], [label for _, label in pairs]


def assert_photos(data, *categories, split="train", order=None):
    """Check that the data are the photos of some categories. `order` is that of the files, by default of the labels."""
    pixels, labels, _ = data.read()
    colours, expected_labels = expected(*(order or categories), split=split)
    assert [colour(image) for image in pixels] == colours
    if len(categories) > 1:
        assert data.class_names == categories
        assert labels.tolist() == [categories.index((order or categories)[label]) for label in expected_labels]
    else:
        assert data.condition is labels is None
    check_dataset(data)


@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip", "default"])
def test_folders_of_categories(tmp_path, monkeypatch, form):
    top = write_folders(tmp_path / "lsun")
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path))
    path = {
        "folder": lambda: top,
        "zip": lambda: zipped(top, tmp_path / "a.zip"),
        "wrapped zip": lambda: zipped(top, tmp_path / "a.zip", "photos/lsun/"),
        "default": lambda: None,
    }[form]()
    data = dataset(path)
    assert (data.shape, data.at_most, data.contents) == ((3, 8, 8), 10, "10 images of 10 files")
    assert_photos(data, *PHOTOS)
    assert_photos(dataset(path, categories=["kitchen"]), "kitchen")
    assert_photos(dataset(path, categories=["kitchen", "bedroom"]), "kitchen", "bedroom", order=("bedroom", "kitchen"))


@pytest.mark.parametrize("form", ["folder", "parent", "zip", "wrapped zip"])
def test_images_of_one_category(tmp_path, form):
    top = write_folders(tmp_path / "lsun", ["bedroom"])
    path = {
        "folder": lambda: top / "bedroom",
        "parent": lambda: top,
        "zip": lambda: zipped(top / "bedroom", tmp_path / "bedroom.zip"),
        "wrapped zip": lambda: zipped(top / "bedroom", tmp_path / "a.zip", "x/bedroom/"),
    }[form]()
    assert_photos(dataset(path), "bedroom")
    assert_photos(dataset(path, categories=["bedroom"]), "bedroom")
    with pytest.raises(
        InputError, match=r"categories: 'bedrom' is not in .*; did you mean 'bedroom'\? there are bedroo"
    ):
        dataset(path, categories=["bedrom"])


def nest(folder):
    """Move the images to nested folders of one character, as LSUN's own export does."""
    for file in sorted(folder.glob("*.webp")):
        new = folder.joinpath(*file.name[:6], file.name)
        new.parent.mkdir(parents=True)
        file.rename(new)


def test_the_nested_folders_of_the_export_are_no_categories(tmp_path):
    top = write_folders(tmp_path / "lsun")
    for folder in top.iterdir():
        nest(folder)
    assert_photos(dataset(top), *PHOTOS)
    assert_photos(dataset(top / "bedroom", categories=["bedroom"]), "bedroom")
    for number in range(4):  # only one image remains, and all of its folders contain everything
        next(iter(sorted((top / "bedroom").rglob("*.webp")))).unlink()
        assert len(dataset(top / "bedroom", categories=["bedroom"]).load()[0]) == 4 - number


def test_databases_of_a_split(tmp_path, monkeypatch, lmdb):
    top = write_databases(lmdb, tmp_path / "lsun")
    monkeypatch.setenv("GANKIT_DATA", str(tmp_path))
    assert dataset().at_most == 10
    for split in ("train", "val"):
        assert_photos(dataset(split=split), *PHOTOS, split=split)
        one = top / f"kitchen_{split}_lmdb"
        assert_photos(dataset(one, split=split), "kitchen", split=split)
        assert_photos(dataset(one, split=split, categories=["kitchen"]), "kitchen", split=split)
    assert_photos(dataset(categories=["kitchen", "bedroom"]), "kitchen", "bedroom")
    assert_photos(dataset(categories=["kitchen"]), "kitchen")


def test_databases_without_a_split(tmp_path, lmdb):
    """The databases of the objects have the name of their category."""
    top = tmp_path / "objects"
    top.mkdir()
    for category in ("kitchen", "bedroom"):
        write_database(lmdb, top / category, category)
    for split in ("train", "val"):
        assert_photos(dataset(top, split=split), "bedroom", "kitchen")


def test_reading_a_database_writes_nothing(tmp_path, lmdb):
    folder = write_database(lmdb, tmp_path / "bedroom_train_lmdb", "bedroom")
    (folder / "lock.mdb").unlink()
    before = (folder / "data.mdb").read_bytes(), (folder / "data.mdb").stat().st_mtime_ns
    dataset(folder).load()
    assert [file.name for file in folder.iterdir()] == ["data.mdb"]
    assert ((folder / "data.mdb").read_bytes(), (folder / "data.mdb").stat().st_mtime_ns) == before


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_stream_equals_load_for_any_chunk_size(tmp_path, monkeypatch, lmdb, chunk):
    monkeypatch.setattr(images, "CHUNK_BYTES", chunk * 3 * 8 * 8)
    check_dataset(dataset(write_databases(lmdb, tmp_path / "x")))
    check_dataset(dataset(write_folders(tmp_path / "y")))


def test_many_images_are_decoded_in_worker_processes(tmp_path, lmdb):
    """More images than a batch has, so their contents are sent to other processes."""
    extra = [(f"{n:04d}".encode(), encoded(Image.new("RGB", (9, 9), (n, n, n)))) for n in range(80)]
    data = dataset(write_database(lmdb, tmp_path / "bedroom_train_lmdb", "bedroom", extra=extra))
    pixels = data.load()[0]
    assert len(pixels) == 85
    assert [colour(image)[0] for image in pixels[:80]] == list(range(80))


def test_prepared_files_have_the_categories(tmp_path, lmdb):
    for path in (write_folders(tmp_path / "x"), write_databases(lmdb, tmp_path / "y")):
        data = dataset(path, categories=["kitchen", "bedroom"])
        assert prepare(data, tmp_path / "x.safetensors", "test") == 7
        prepared = read_prepared(tmp_path / "x.safetensors")
        assert prepared.class_names == ("kitchen", "bedroom")
        assert all(torch.equal(one, two) for one, two in zip(prepared.read()[:2], data.read()[:2], strict=True))


def test_a_slow_load_recommends_to_prepare(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "SLOW", -1.0)
    top = write_folders(tmp_path / "x")
    dataset(top, categories=["bedroom"]).load()
    settings = [f"path={top}", 'categories=["bedroom"]', "resolution=8"]
    command = shlex.join(["gankit", "prepare", "lsun", "--out", "FILE", *settings])
    assert f"`{command}` saves this time" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["folder", "database"])
def test_damaged_images_are_skipped_up_to_the_limit(tmp_path, capsys, request, form):
    if form == "folder":
        path = write_folders(tmp_path / "bedroom", ["bedroom"])
        (path / "bedroom" / "zzz.jpg").write_bytes(b"no image")
    else:
        lmdb = request.getfixturevalue("lmdb")
        path = write_database(lmdb, tmp_path / "bedroom_lmdb", "bedroom", extra=[(b"zzz.jpg", b"no image")])
    data = dataset(path)
    assert data.at_most == 6
    assert len(data.load()[0]) == 5
    assert "skipped 1 of the 6 images: bedroom/zzz.jpg (not an image" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"more than 0 of the 6 images .* raise data\.bad_limit from 0"):
        dataset(path, bad_limit=0).load()


def test_unknown_categories_are_named_with_the_nearest(tmp_path, lmdb):
    for path in (write_folders(tmp_path / "x"), write_databases(lmdb, tmp_path / "y")):
        with pytest.raises(InputError) as error:
            dataset(path, categories=["bedroom", "church"])
        assert str(error.value) == (
            f"categories: 'church' is not in {path}; did you mean 'church_outdoor'? there are bedroom, church_outdoor, "
            "kitchen"
        )


def test_missing_splits_are_refused(tmp_path, lmdb):
    folder = write_database(lmdb, tmp_path / "bedroom_val_lmdb", "bedroom")
    for path in (folder, tmp_path):
        with pytest.raises(InputError, match=r"split: .* has no database of the split train; set data\.split=val"):
            dataset(path)
    with pytest.raises(InputError, match=r"split: .* has no LMDB databases; remove data\.split, and set data\.path to"):
        dataset(write_folders(tmp_path / "x"), split="val")


def test_without_lmdb_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    folder = tmp_path / "bedroom_train_lmdb"
    folder.mkdir()
    (folder / "data.mdb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "lmdb", None)  # then `import lmdb` raises ImportError
    with pytest.raises(InputError) as error:
        dataset(folder)
    assert str(error.value) == (
        f"path: {folder} is an LMDB database, and lmdb is not installed; run `pip install 'gankit[lsun]'`"
    )
    assert len(dataset(write_folders(tmp_path / "x")).load()[0]) == 10


@pytest.mark.parametrize("content", [b"", b"no database", bytes(10000)])
def test_files_that_are_no_databases_are_refused(tmp_path, lmdb, content):
    folder = tmp_path / "bedroom_train_lmdb"
    folder.mkdir()
    (folder / "data.mdb").write_bytes(content)
    with pytest.raises(InputError, match=r"path: .*bedroom_train_lmdb cannot be read: "):
        dataset(folder)


def test_truncated_databases_are_refused(tmp_path, lmdb):
    folder = write_database(lmdb, tmp_path / "bedroom_train_lmdb", "bedroom", extra=[(b"x", bytes(100_000))])
    file = folder / "data.mdb"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-4096])
    with pytest.raises(InputError, match=rf"path: .*data\.mdb has {size - 4096} bytes, but its header declares {size}"):
        dataset(folder)


def test_empty_databases_are_refused(tmp_path, lmdb):
    folder = tmp_path / "bedroom_train_lmdb"
    with lmdb.open(str(folder)) as database, database.begin(write=True) as transaction:
        transaction.put(b"a", b"b")
        transaction.delete(b"a")
    with pytest.raises(
        InputError, match=r"path: .* has no images of bedroom; the databases are at https://www\.yf\.io"
    ):
        dataset(folder)


def test_wrong_folders_are_refused(tmp_path):
    top = tmp_path / "x"
    top.mkdir()
    (top / "bedroom_train_lmdb.zip").write_bytes(b"")
    with pytest.raises(
        InputError,
        match=r"has no LMDB databases and no images; .*, and these files are 1 \.zip; databases must be unpa",
    ):
        dataset(top)
    write_folders(top)
    photo("bedroom", 1).save(top / "a.png")
    with pytest.raises(
        InputError, match=r"path: .* has images outside of the folders of the categories \(1\); move or"
    ):
        dataset(top)
    with pytest.raises(InputError, match=r"path: .*/cache/lsun does not exist; .*; the databases are at"):
        dataset()


@pytest.mark.parametrize(
    "settings", [{"split": "test"}, {"resolution": 3}, {"categories": []}, {"categories": ["a", "a"]}, {"bad_limit": 2}]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        Lsun.Config(**settings)


def test_documentation():
    check_documentation(Lsun)
