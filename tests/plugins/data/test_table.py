"""Tests of tables: kinds of columns, files, prepared files, and a run from a CSV file to a CSV file of samples."""

import csv
import sys
from datetime import date, timedelta

import pytest
import tomli_w
import torch
from click.testing import CliRunner

from gankit import InputError, prepare
from gankit.cli import cli
from gankit.data.load import load_dataset
from gankit_plugins.data.drawn_table import DrawnTable, draw_table
from gankit_plugins.data.table import Table
from gankit_plugins.data.table_files import decimals_of, read_table, write_csv
from gankit_plugins.data.table_kinds import detect_kind, fit_column
from gankit_plugins.data.table_picture import draw_columns, proportions
from gankit_plugins.data.table_rows import texts
from gankit_plugins.layers.table_columns import columns_of, decode_rows

ROWS = 60
DAYS = [(date(2024, 1, 1) + timedelta(days=7 * n)).isoformat() for n in range(ROWS)]
CELLS = {
    "id": [f"row {n}" for n in range(ROWS)],
    "age": [str(20 + n % 40) for n in range(ROWS)],
    "zip": [f"0{1000 + n % 12}" for n in range(ROWS)],
    "weight, kg": ["NA" if n % 6 == 0 else f"{50 + 0.25 * n:.2f}" for n in range(ROWS)],
    "day": DAYS,
    "job": ['say "hi"' if n % 2 else "" for n in range(ROWS)],
    "flag": ["True" if n % 3 else "False" for n in range(ROWS)],
    "grade": [str(n % 5) for n in range(ROWS)],
}


@pytest.fixture
def file(tmp_path):
    write_csv(tmp_path / "rows.csv", CELLS)
    return tmp_path / "rows.csv"


def table(path, **settings):
    return Table(Table.Config(path=path, **settings)).load_data()


def columns(dataset):
    return {column.name: column for column in columns_of(dataset.encoding, "test")}


def test_kinds_are_detected_and_can_be_changed(file):
    found = columns(table(file))
    kinds = {name: column.kind for name, column in found.items()}
    assert kinds == {
        **dict.fromkeys(("id", "zip", "job", "flag", "grade"), "category"),
        **{"age": "integer", "weight, kg": "number", "day": "date"},
    }
    assert found["weight, kg"].missing == "NA"
    assert found["weight, kg"].decimals == 2
    assert found["job"].words == ("", 'say "hi"')
    changed = columns(table(file, columns={"id": "drop", "grade": "number", "age": "category"}))
    assert list(changed) == list(CELLS)[1:]
    assert (changed["grade"].kind, changed["age"].kind, len(changed["age"].words)) == ("number", "category", 40)
    assert "7 columns: age: category (40 words), zip" in table(file, columns={"id": "drop", "age": "category"}).contents


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([str(n) for n in range(11)], "integer"),
        ([str(n) for n in range(10)], "category"),
        (["1.5", "-2e3"], "number"),
        (["1.5", "inf"], "category"),
        (["1_000", "2"], "category"),
        (["007", *map(str, range(20))], "category"),
        (["0.5", "0.25"], "number"),
        (DAYS, "date"),
        ([*DAYS, "yesterday"], "category"),
        (["1"], "category"),
        ([], "category"),
    ],
)
def test_detected_kinds(cells, kind):
    assert detect_kind(cells) == kind


def test_rows_are_written_as_they_were_read(file):
    dataset = table(file)
    rows, condition, _ = dataset.read()
    assert texts(rows, columns_of(dataset.encoding, "test")) == CELLS
    assert torch.equal(rows, table(file).read().images)
    assert (condition.sum(1) == 1).all()
    shown = [dataset.condition.names[one] for one in condition.argmax(1).tolist()]
    assert all(CELLS[name.partition("=")[0]][n] == name.partition("=")[2] for n, name in enumerate(shown))
    assert len({name.partition("=")[0] for name in shown}) == 5


def test_a_prepared_table_is_the_same_table(file, tmp_path):
    dataset = table(file)
    prepare(dataset, tmp_path / "rows.safetensors", "test")
    again = table(tmp_path / "rows.safetensors")
    assert (again.encoding, again.condition, again.shape) == (dataset.encoding, dataset.condition, dataset.shape)
    for one, other in zip(again.read()[:2], dataset.read()[:2], strict=True):
        assert torch.equal(one, other)
    prepare(
        load_dataset({"use": "shapes", "count": 4, "resolution": 8}, "test"), tmp_path / "shapes.safetensors", "test"
    )
    with pytest.raises(InputError, match="table needs the rows of a table, and the data are none"):
        table(tmp_path / "shapes.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"", "has no rows; the first line names the columns"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 cells, and the first line has 2"),
        (b"a,a\n1,2\n", "the column name 'a' is empty or occurs twice"),
        (b"a,\n1,2\n", "the column name '' is empty"),
        (b"a\n\xff\xfe\n", "is no CSV file in UTF-8"),
        (("a\n" + "\n".join(f"word {n}" for n in range(1001))).encode(), "'a' has 1001 different words, at most 1000"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        table(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "number"}, "there is no column 'size'; there are id, age"),
        ({"id": "number"}, "'id' is given as number, and has the cell 'row 0'"),
        ({"weight, kg": "integer"}, "has the cell '50.25'"),
        (dict.fromkeys(CELLS, "drop"), "all columns are dropped"),
    ],
)
def test_kinds_that_do_not_fit(file, given, message):
    with pytest.raises(InputError, match=message):
        table(file, columns=given)


def test_other_delimiters_and_a_byte_order_mark(tmp_path):
    for delimiter in ";\t":
        (tmp_path / "x.csv").write_text(
            f"\ufeffa{delimiter}b,c{delimiter}d\r\n1{delimiter}2,5{delimiter}x\r\n", encoding="utf-8"
        )
        assert read_table(tmp_path / "x.csv") == {"a": ["1"], "b,c": ["2,5"], "d": ["x"]}
    (tmp_path / "x.txt").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"is no table; give a file that ends in \.csv or \.parquet"):
        read_table(tmp_path / "x.txt")


def test_parquet_needs_a_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"need the package pyarrow; pip install 'gankit\[table\]', or use CSV"):
        table(tmp_path / "x.parquet")


def test_parquet_files_keep_the_types(file, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    plugin = Table(Table.Config(path=file))
    dataset = plugin.load_data()
    path = plugin.save_sample_file(dataset.read().images, tmp_path / "x.parquet", dataset)
    kinds = {field.name: field.type for field in parquet.read_table(path).schema}
    assert kinds["age"] == pyarrow.int64()
    assert kinds["weight, kg"] == pyarrow.float64()
    assert kinds["day"] == pyarrow.date32()
    again = table(path)
    assert {name: column.kind for name, column in columns(again).items()} == {
        name: column.kind for name, column in columns(dataset).items()
    }
    path.write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        table(path)


def test_the_drawn_table_follows_its_rule():
    cells = draw_table(5000, 3)
    assert cells == draw_table(5000, 3) != draw_table(5000, 4)
    known = [n for n in range(5000) if cells["income"][n]]
    assert len(known) / 5000 == pytest.approx(0.9, abs=0.02)
    assert cells["job"].count("pilot") / 5000 == pytest.approx(0.03, abs=0.01)
    for n in known:
        member = float(cells["income"][n]) > 50 and int(cells["age"][n]) > 30
        assert cells["member"][n] == ("yes" if member else "no")
    dataset = DrawnTable(DrawnTable.Config(count=500)).load_data()
    assert [len(column.means) for column in columns_of(dataset.encoding, "test")][:2] == [2, 0]


def test_bars_of_the_picture():
    dataset = DrawnTable(DrawnTable.Config(count=3000)).load_data()
    rows, own = dataset.read().images, columns_of(dataset.encoding, "test")
    assert draw_columns(rows, own).size == (3 * 240, 2 * 120)
    for column, values in zip(own, decode_rows(rows, own), strict=True):
        data, samples = proportions(column, values)
        assert data.sum().item() == pytest.approx(1, abs=1e-6)
        assert samples.sum().item() == pytest.approx(1, abs=1e-6)
        assert (data - samples).abs().sum() < 0.3


def run_cli(*arguments):
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_from_a_csv_file_to_a_csv_file(tmp_path, file):
    recipe = {
        "data": {"use": "table", "path": str(file), "columns": {"id": "drop"}},
        "generator": {"use": "ctgan", "hidden": [8]},
        "discriminator": {"use": "ctgan", "hidden": [8]},
        "latent": {"use": "normal", "size": 4},
        "loss": "wasserstein",
        "normalization": {"generator": "batch_norm", "discriminator": "none"},
        "tricks": {"training_by_sampling": {}, "gradient_penalty": {}, "packing": {"size": 5}},
        "train": {"iterations": 2, "batch_size": 20},
        "output": {"sample_count": 10},
        "evaluation": {"count": 40},
        "extractor": "table_rows",
        "metrics": {"table_columns": {}, "table_prediction": {"label": "flag"}, "memorisation": {}},
    }
    (tmp_path / "r.toml").write_text(tomli_w.dumps(recipe))
    run_cli("run", tmp_path / "r.toml", "--out", tmp_path / "run", "--quiet")
    file.rename(tmp_path / "moved.csv")  # sampling needs only the generator's file
    generator = tmp_path / "run" / "generator.safetensors"
    run_cli("sample", generator, "--out", tmp_path / "new.csv", "--count", 70, "--set", 'job=say "hi"')
    with open(tmp_path / "new.csv", newline="") as opened:
        header, *rows = csv.reader(opened)
    assert header == list(CELLS)[1:]
    assert len(rows) == 70
    words = {name: set(CELLS[name]) for name in ("zip", "job", "flag", "grade")}
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        assert all(cells[name] in words[name] for name in words)
        assert 20 <= int(cells["age"]) <= 59
        assert cells["weight, kg"] == "NA" or len(cells["weight, kg"].partition(".")[2]) == 2
        assert date.fromisoformat(cells["day"]).year in (2024, 2025)
    run_cli("sample", generator, "--out", tmp_path / "folder", "--count", 2)
    assert len(list((tmp_path / "folder").glob("*.csv"))) == 2
    wrong = CliRunner().invoke(cli, ["sample", str(generator), "--out", str(tmp_path / "x.csv"), "--set", "job=cook"])
    assert "job: 'cook' is no word of this category" in str(wrong.exception or wrong.output)
    assert not (tmp_path / "x.csv").exists()
    changes = [f"data.path={tmp_path / 'moved.csv'}", "metrics.table_prediction.label=flag"]
    evaluated = run_cli("eval", generator, *changes)
    assert "column_distance" in evaluated
    assert "accuracy_generated" in evaluated


def test_extreme_numbers_end():
    huge = [f"{i}e300" for i in range(1, 30)]
    assert detect_kind(huge) == "category"
    assert detect_kind([str(10**20 + i) for i in range(30)]) == "number"
    column, values = fit_column("a", [f"{i}e-12" for i in range(1, 30)], None, ())
    encoded = column.encode(values, torch.Generator().manual_seed(0))
    assert encoded[:, 0].std() > 0.1
    assert decimals_of(["1." + "1" * 400]) is None


def test_delimiter_outside_quotation_marks(tmp_path):
    (tmp_path / "t.csv").write_text('"last, first, mid";b\nx;1.5\n')
    assert read_table(tmp_path / "t.csv") == {"last, first, mid": ["x"], "b": ["1.5"]}
