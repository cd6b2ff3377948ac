"""Files of samples that are not images, in a run directory and on its page."""

import base64

import pytest
from PIL import Image

from gankit import Plugin, hookimpl
from gankit.images.io import save_png
from gankit.report import sample_files
from gankit.report.page import page
from gankit.report.run_record import read_run
from gankit.report.sample_files import page_files
from gankit.storage.run_dir import RunDir

GIF = b"GIF89a" + bytes(20)
FILES = {
    "000000_a.wav": b"RIFF" + bytes(40),
    "000001_b.gif": GIF,
    "000002.txt": b"red <b>circle</b>",
    "000003.csv": b"age,city\n31,Rome\n\n",
    "000004.csv": b'age,city\n58,"Bonn, Rhein"\n',
    "000005.csv": b"",
    "000006.bin": b"not shown",
}


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a run with grids and with the given files of samples, and returns its path."""

    def write(files, iterations=(10, 20), name="run"):
        directory = RunDir(tmp_path / name)
        directory.path.mkdir()
        directory.recipe_file.write_text('name = "toy"\n[train]\niterations = 20\n')
        for iteration in iterations:
            save_png(Image.new("L", (4, 4)), directory.grid(iteration))
            directory.sample_files(iteration).mkdir()
            for file, data in files.items():
                (directory.sample_files(iteration) / file).write_bytes(data)
        return directory.path

    return write


def test_files_are_shown_by_their_suffix(run):
    text = page([read_run(run(FILES))])
    sound = base64.b64encode(FILES["000000_a.wav"]).decode()
    assert text.count(f'<audio controls preload="metadata" src="data:audio/wav;base64,{sound}"') == 2
    assert text.count(f'<img src="data:image/gif;base64,{base64.b64encode(GIF).decode()}" alt="000001_b">') == 2
    assert text.count("<pre>red &lt;b&gt;circle&lt;/b&gt;</pre>") == 2
    assert text.count('<th scope="col">age</th><th scope="col">city</th>') == 2, "equal headings: one table in a grid"
    assert text.count('<tr><th scope="row">58</th><td>Bonn, Rhein</td></tr>') == 2
    assert "not shown" not in text
    assert "Left out because of their size" not in text


def test_the_size_of_a_page_is_limited(run, monkeypatch):
    monkeypatch.setattr(sample_files, "MAX_BYTES", 700)
    small, large = (run({f"{n}.wav": bytes(size) for n in range(3)}, name=str(size)) for size in (50, 120))
    (all_fit,) = page_files([read_run(small).sample_files]).files
    assert {iteration: len(files) for iteration, files in all_fit.items()} == {10: 3, 20: 3}
    newest = page_files([read_run(large).sample_files])
    assert ([{i: len(f) for i, f in own.items()} for own in newest.files], newest.num_too_large) == ([{20: 3}], 0)
    both = page_files([read_run(large).sample_files, read_run(small).sample_files])
    assert [{i: len(f) for i, f in own.items()} for own in both.files] == [{20: 2}, {20: 3}]
    text = page([read_run(large), read_run(small)])
    assert "Left out because of their size: 1 file of samples." in text
    assert "only for the newest sample grid" in text


def test_long_texts_and_tables_are_cut(run):
    rows = "".join(f"{n},x\n" for n in range(50))
    (files,) = page_files(
        [read_run(run({"a.txt": b"\xff" + b"y" * 3000, "b.csv": f"n,v\n{rows}".encode()}, (10,))).sample_files]
    ).files
    text, table = files[10]
    assert text.text == "�" + "y" * 1999 + " ..."
    assert table.name == "20 of 50 rows"
    assert table.table.rows[-1] == ["19", "x"]


def test_a_cell_of_a_table_may_contain_line_breaks(run):
    content = 'text,n\n"one\ntwo",1\nthree\u2028four,2\n'.encode()
    (files,) = page_files([read_run(run({"a.csv": content}, (10,))).sample_files]).files
    assert files[10][0].table.rows == [["one\ntwo", "1"], ["three\u2028four", "2"]]


class Texts(Plugin):
    """Samples as texts; draws random numbers. Source: none."""

    name = "texts"

    @hookimpl
    def save_samples(self, samples, names, folder):
        paths = [folder / f"{name}.txt" for name in names]
        for path, sample in zip(paths, samples, strict=True):
            path.write_text(f"{sample.sum():.6f} {samples.new_empty(1).uniform_()}")
        return paths


class Nothing(Plugin):
    """Samples that are saved as images, although the hook is implemented. Source: none."""

    name = "nothing"

    @hookimpl
    def save_samples(self):
        return None


def test_a_run_keeps_the_files_of_each_grid_and_trains_the_same(shelf, train_toy):
    for plugin in (Texts, Nothing):
        shelf.add(plugin)
    output = {"sample_count": 20, "sample_every": 4}
    plain = train_toy("plain", output=output, data={"classes": 2}).path
    texts = train_toy("texts", output=output, data={"classes": 2}, tricks={"t": {"use": "Texts"}}).path
    nothing = train_toy("nothing", output=output, tricks={"t": {"use": "Nothing"}}).path
    # Every seventh or eighth of 20 samples; the first row has class a, the second class b.
    expected = ["000000_a", "000003_a", "000005_a", "000008_a", "000011_b", "000014_b", "000016_b", "000019_b"]
    for iteration in ("000004", "000006"):
        folder = texts / "samples" / iteration
        assert sorted(path.stem for path in folder.iterdir()) == expected
    for folder, names in (
        (plain, ["000004.png", "000006.png"]),
        (nothing, ["000004.png", "000006.png"]),
        (texts, ["000004", "000004.png", "000006", "000006.png"]),
    ):
        assert sorted(path.name for path in (folder / "samples").iterdir()) == names
    for name in ("generator", "discriminator", "optimizer"):
        one, other = (path / "checkpoints" / "000006" / f"{name}.safetensors" for path in (plain, texts))
        assert one.read_bytes() == other.read_bytes()


def test_files_are_deleted_with_their_grid(tmp_path, run):
    directory = RunDir(run(FILES))
    leftover = directory.samples / ".tmp-000030"
    leftover.mkdir()
    (leftover / "a.wav").write_bytes(b"")
    directory.rewind(20)
    directory.discard_after(10)
    assert sorted(path.name for path in directory.samples.iterdir()) == ["000010", "000010.png"]
