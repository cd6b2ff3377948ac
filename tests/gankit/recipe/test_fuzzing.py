"""Random changes of a recipe give a valid recipe or an InputError, never another exception."""

import tomllib

import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gankit import GankitError, InputError, Recipe
from gankit.training.assembly import assemble

NAMES = ["", "use", "name", "seed", "train", "data", "tricks", "generator", "count", "lr", "a/b", "a.b", "q", "x:Y"]
USES = ["Blobs", "Wander", "nobody", "x@y", "./x.py:Y", "json:dumps", ":", "\0.py:X", "cpu", "0", "meta"]
keys = st.sampled_from([*NAMES, "Wander"]) | st.text(max_size=8)
numbers = st.booleans() | st.integers(-(2**70), 2**70) | st.floats()
scalars = numbers | st.sampled_from(USES) | st.text(max_size=12) | st.datetimes() | st.dates() | st.times()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


def places(table, prefix=()):
    """Return all key paths of nested tables, and a path with None for a new key in each table."""
    paths = [(*prefix, None)]
    for name, value in table.items():
        paths.append((*prefix, name))
        if isinstance(value, dict):
            paths += places(value, (*prefix, name))
    return paths


often = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@often
@given(data=st.data())
def test_mutated_tables_give_a_recipe_or_an_input_error(data, shelf, toy_dict):
    raw = toy_dict(tricks={"w": {"use": "Wander", "pace": 0.5}})
    for _ in range(data.draw(st.integers(1, 3))):
        *tables, last = data.draw(st.sampled_from(places(raw)))
        table = raw
        for name in tables:
            table = table[name]
        if last is not None and data.draw(st.booleans()):
            del table[last]
        else:
            table[last if last is not None else data.draw(keys)] = data.draw(values)
    try:
        recipe = Recipe.from_dict(raw, source="toy.toml")
    except InputError as error:
        assert str(error).startswith("toy.toml: ")
        return
    assert Recipe.from_dict(tomllib.loads(recipe.to_toml()), source="toy.toml") == recipe
    sizes = [recipe.train.batch_size, recipe.output.sample_count]
    for component in recipe.components.values():
        sizes += [value for value in component.config.model_dump().values() if isinstance(value, int)]
    # Larger networks may not fit into the memory of a test.
    if max(sizes) < 500:
        try:
            assemble(recipe)
        except InputError as error:
            assert "toy.toml: " in str(error) or "train.device" in str(error)


@often
@given(data=st.data())
def test_mutated_text_gives_a_recipe_or_an_input_error(data, shelf, toy_dict, tmp_path):
    text = tomli_w.dumps(toy_dict(tricks={"w": {"use": "Wander"}}))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from([0, 0, 1, 2, 10])))
        new = data.draw(st.sampled_from(list("\"'=[]{}.,#\n\\0e-_x ")) | st.text(max_size=3))
        text = text[:start] + new + text[end:]
    path = tmp_path / "r.toml"
    path.write_bytes(text.encode("utf-8", "replace"))
    try:
        Recipe.load(path)
    except InputError as error:
        assert str(path) in str(error)


@often
@given(
    overrides=st.lists(st.tuples(keys, st.text("=.,[]{}\"'#0x1e-\n t", max_size=8) | st.text(max_size=8)), max_size=3)
)
def test_any_override_gives_a_recipe_or_an_input_error(overrides, shelf, toy_file):
    try:
        Recipe.load(toy_file(), [f"{key}={value}" for key, value in overrides])
    except GankitError as error:
        assert error.exit_code == 2
        assert str(error)
