"""benchmarks/data.py: that it runs, cleans up, and says what it found."""

import data


def test_a_quick_run_says_what_it_found_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(data.tempfile, "tempdir", str(tmp_path))
    found = data.measure(True)
    page = data.section(found)
    assert page.startswith("## Data\n")
    assert "28x28 grey" in page
    assert [int(count) for count in found["preparing"]["runs"]] == [20, 200]
    assert all(run["peak"] > 2**20 for run in found["preparing"]["runs"].values())
    assert list(tmp_path.iterdir()) == []
    assert not list(data.GROUPS.glob("gankit-data-*"))


def test_a_missed_target_is_said():
    one = {"file": 2**20, "limit": None, "refused": None, "milliseconds": 1.0, "trouble": None}
    one |= {"slower": (1.5, 1.4, 1.6), "control": (1.0, 0.99, 1.01)}
    made = {"all_to_one": (0.5, 0.5, 0.5), "few": 1, "many": 10, "cores": 2, "per_second": {"one": 1, "all": 2}}
    found = {"machine": "m", "training": {"x": one}, "cold": {}, "preparing": made | {"runs": {}}}
    assert "The target is missed with x." in data.section(found)
    assert "No control group could be made" in data.section(found)
    found["training"]["x"] = one | {"trouble": "the control is 0.9", "limit": 2**20, "refused": 3}
    assert "x does not count: the control is 0.9." in data.section(found)
    assert "1 MiB, too little 3 times" in data.section(found)
    found["training"]["x"] = one | {"slower": (1.01, 1.0, 1.02)}
    assert "The target is met with x." in data.section(found)


def test_where_no_group_can_be_made_it_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "GROUPS", tmp_path / "nowhere")
    with data.limited(2**30) as group:
        assert group is None
