"""The benchmark of growth runs, and its exponents are those of power laws."""

import random

import growth
import pytest


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power):
    sizes = [3, 10, 40, 1000]
    assert growth.exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)


def test_the_exponent_is_the_nearest_by_least_squares():
    # By hand: logarithms 0, 1, 2 against 0, 1, 1, whose slope is 1/2.
    e = 2.718281828459045
    assert growth.exponent([1, e, e**2], [1, e, e]) == pytest.approx(0.5)
    noise = random.Random(0)
    times = [size**2 * noise.uniform(0.9, 1.1) for size in range(1, 200)]
    assert growth.exponent(range(1, 200), times) == pytest.approx(2, abs=0.05)


def test_it_runs_and_says_what_it_found():
    found = growth.measure(quick=True)
    text = growth.section(found)
    assert text.startswith("## How it grows\n")
    for each in found["growths"]:
        assert len(each["sizes"]) == len(each["milliseconds"]) == 2
        assert each["times"][0] == 1
        assert f"| {each['what']} | {each['quantity']} |" in text
    assert found["order"] == {"images": 1_000, "bytes": 16_000}
    assert found["parameters of a class"] > 1_000


def test_what_is_said_of_a_hundred_times_as_much_follows_the_figures():
    steep = {"median": 1.0, "low": 1.0, "high": 1.0}
    quantities = {
        "an iteration": ["images in the batch", "classes, 2 images of each", "plugins that do nothing"],
        "a new epoch's order": ["images in the data"],
        "`gankit list-plugins`": ["plugins installed"],
        "`gankit --help`": ["plugins installed"],
        "the report": ["rows of the log"],
        "a resume's rewind": ["rows of the log"],
        "a comparison's page": ["runs"],
    }
    growths = [
        {"what": what, "quantity": q, "sizes": [2, 202], "milliseconds": [3, 303], "times": [1, 101], "exponent": steep}
        for what, of in quantities.items()
        for q in of
    ]
    found = {
        "machine": "a machine",
        "growths": growths,
        "ranks": dict(
            zip(("one", "two that share", "two", "one again"), ([t] * 3 for t in (10.0, 5.0, 16.0, 10.1)), strict=True)
        ),
        "order": {"images": 6_000_000, "bytes": 96_000_000},
        "parameters of a class": 125_000,
        "installed": 90,
    }
    text = growth.section(found)
    assert "Two that share it are 2.00 times as fast as one" in text
    assert "takes 1.01 of the time of one." in text
    assert "play 1.25 times the images a second" in text
    assert "| an iteration | ranks that share a batch of 128 | 1 | 2 | 10 ms | 0.5 | -1.00 (-1.00 to -1.00) |" in text
    assert "| an iteration | ranks with 128 images each | 1 | 2 | 10 ms | 1.6 | 0.68 (0.68 to 0.68) |" in text
    assert "1,000 have 125 million" in text
    assert "101.00 times as long, 1500.0 microseconds for each of them" in text


def test_what_is_installed_for_it_is_found(tmp_path, monkeypatch):
    from gankit.plugin.registry import Registry

    monkeypatch.syspath_prepend(str(growth.installed(tmp_path, 10)))
    entries = [entry for entry in Registry.installed().entries if entry.distribution.startswith("kit-")]
    assert len(entries) == 10
    assert all(entry.load().name == entry.name for entry in entries)
