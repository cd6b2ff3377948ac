"""Settings with a schedule: their curves, their bounds, messages, and their effect in a run."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from pydantic import Field

from gankit import LossTerm, Plugin, Recipe, Scheduled, Settings, hookimpl, value_at
from gankit.cli.settings_help import setting_rows
from gankit.errors import RecipeError
from gankit.plugin.registry import Registry
from gankit.plugin.schedule import Schedule, curve
from gankit.recipe.json_schema import recipe_schema
from gankit.testing import check_plugin, tiny_run, train_iterations
from gankit.testing.harness import tiny_recipe
from gankit.training.assembly import assemble
from gankit.training.loop import Clock
from gankit.training.update import due_terms


class Pull(Plugin):
    """Term that pulls D's weights to 0. Source: own example."""

    name = "pull"

    class Config(Settings):
        weight: Scheduled = Field(0.5, gt=0, le=9, description="weight of the term")

    config: Config

    @hookimpl
    def loss_terms(self, player, run):
        if player == "discriminator":
            squares = lambda step: sum(p.square().sum() for p in run.discriminator.parameters())  # noqa: E731
            yield LossTerm("pull", squares, self.config.weight)


FALLING = {"schedule": "linear", "start": 4.0, "end": 0.0, "until": 4}


def at(iteration, images=0, iterations=1000, **schedule):
    train = SimpleNamespace(iterations=iterations, batch_size=8)
    run = SimpleNamespace(
        iteration=iteration, recipe=SimpleNamespace(train=train), step_counts={"discriminator": images // 8}
    )
    return value_at(Schedule(**schedule), run)


@pytest.mark.parametrize(
    ("shape", "quarter", "middle"),
    [
        ("linear", 3.25, 2.5),
        ("cosine", 4.0 - 3.0 * math.sin(math.pi / 8) ** 2, 2.5),
        ("exponential", 4.0 / 2**0.5, 2.0),
        ("step", 4.0, 4.0),
    ],
)
def test_curves_by_closed_form(shape, quarter, middle):
    values = [curve(shape, 4.0, 1.0, t) for t in (0.0, 0.25, 0.5, 1.0)]
    assert values == pytest.approx([4.0, quarter, middle, 1.0])


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential", "step"])
def test_value_stays_before_begin_and_from_until_on(shape):
    given = {"schedule": shape, "start": 3.0, "end": 5.0, "begin": 10, "until": 20}
    assert [at(n, **given) for n in (0, 9, 10, 20, 21, 10**9)] == [3.0, 3.0, 3.0, 5.0, 5.0, 5.0]
    rising = [at(n, **given) for n in range(10, 21)]
    assert rising == sorted(rising)


def test_length_defaults_to_the_run_and_images_count_those_of_d():
    assert at(250, iterations=1000, schedule="linear", start=0.0, end=8.0) == 2.0
    by_images = {"schedule": "linear", "start": 0.0, "end": 8.0, "by": "images", "until": 80}
    assert at(10**6, images=40, **by_images) == 4.0
    # A schedule may begin after the end of a run that was shortened.
    assert at(50, iterations=100, schedule="linear", start=1.0, end=2.0, begin=100) == 1.0
    assert at(101, iterations=100, schedule="linear", start=1.0, end=2.0, begin=100) == 2.0


def test_number_is_constant():
    assert value_at(Pull.Config().weight, None) == 0.5
    assert value_at(Pull.Config(weight=2).weight, None) == 2.0


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        ("abc", "", "'abc' given; input should be a valid number"),
        (0, "", "0 given; input should be greater than 0"),
        (FALLING | {"end": -1.0}, "", "input should be greater than 0"),
        (FALLING | {"start": 0.0}, "", "input should be greater than 0"),
        (FALLING | {"start": 10.0}, "", "input should be less than or equal to 9"),
        (FALLING | {"schedule": "cosin"}, ".schedule", "'cosin' given; input should be 'linear', 'cosine'"),
        ({"schedule": "linear", "start": 1.0}, ".end", "missing; it has no default: value from `until` on"),
        (FALLING | {"untl": 3}, ".untl", "unknown key; did you mean 'until'? there are schedule, start, end"),
        (FALLING | {"begin": 4}, "", "until = 4 must be larger than begin = 4"),
        ({"schedule": "step", "start": 1.0, "end": 2.0}, "", 'set until; schedule = "step" has no default for it'),
        (
            {"schedule": "linear", "start": 1.0, "end": 2.0, "by": "images"},
            "",
            'set until; by = "images" has no default for it',
        ),
        (FALLING | {"schedule": "exponential"}, "", "never reaches or crosses 0; start and end need the same sign"),
    ],
)
def test_wrong_schedule_is_one_sentence_with_its_key(given, key, message):
    with pytest.raises(RecipeError) as error:
        tiny_recipe({Pull: {"weight": given}})
    (problem,) = error.value.problems
    assert problem.key == f"tricks.pull.weight{key}"
    assert message in problem.message


def test_recipe_keeps_the_schedule_and_overrides_change_it():
    recipe = tiny_recipe({Pull: {"weight": FALLING}})
    table = recipe.to_dict()["tricks"]["pull"]["weight"]
    assert table == FALLING | {"begin": 0, "by": "iterations"}
    changed = Recipe.load(
        "recipes/igan_vn.toml",
        ['tricks.r1.gamma={schedule="cosine", start=4, end=1}', "tricks.instance_noise.sigma.end=0"],
    )
    again = Recipe.from_dict(changed.to_dict())
    assert again.components["tricks.r1"].config.gamma == Schedule(schedule="cosine", start=4, end=1)
    assert again.components["tricks.instance_noise"].config.sigma.end == 0
    assert "schedule" in changed.to_toml()


def test_help_and_json_schema_name_both_forms():
    assert setting_rows(Pull.Config) == [("weight", "float or schedule > 0, <= 9, default 0.5: weight of the term")]
    schema = Pull.Config.model_json_schema()
    choices = schema["properties"]["weight"]["oneOf"]
    assert {"type": "number"} in choices
    assert {"$ref": "#/$defs/Schedule"} in choices
    assert schema["$defs"]["Schedule"]["required"] == ["schedule", "start", "end"]
    json.dumps(schema)


def test_weight_of_a_term_follows_the_schedule_in_training_and_log():
    run = tiny_run({Pull: {"weight": FALLING}})
    weights, rows = [], []
    for _ in range(6):
        (term,) = (t for t in due_terms(run, "discriminator", 1) if t.name == "pull")
        weights.append(term.weight)
        rows.append(Clock(run).row()["values"]["tricks.pull.weight"])
        train_iterations(run)
    assert weights == rows == [4.0, 3.0, 2.0, 1.0, 0.0, 0.0]


def test_schedule_changes_the_training_only_from_where_it_differs():
    states = {}
    for weight in (4.0, FALLING):
        run = tiny_run({Pull: {"weight": weight}})
        for n in (1, 2):
            train_iterations(run)
            states[str(weight), n] = torch.cat([p.detach().flatten() for p in run.discriminator.parameters()])
    assert torch.equal(states["4.0", 1], states[str(FALLING), 1])
    assert not torch.equal(states["4.0", 2], states[str(FALLING), 2])


def test_scheduled_plugin_passes_all_checks():
    check_plugin(Pull, {"weight": FALLING | {"until": 8}})


def test_json_schema_has_the_bounds_of_a_number():
    schema, _ = recipe_schema(Registry.installed().entries)
    gamma = schema["$defs"]["penalty.r1"]["properties"]["gamma"]
    assert gamma["exclusiveMinimum"] == 0
    assert not {"gt", "ge", "lt", "le"} & gamma.keys()


def test_weight_may_stand_on_either_side_of_a_product():
    schedule = Schedule(**FALLING)
    assert (schedule * 2.0, 2.0 * schedule) == (Schedule(**FALLING | {"start": 8.0}),) * 2


@pytest.mark.parametrize(
    ("schedule", "warning"),
    [
        ({"begin": 100}, "begins at 100 iterations, and the run ends at 100, so the value is always 1.0; lower begin"),
        ({"begin": 99}, None),
        ({"begin": 1600, "until": 1700, "by": "images"}, "begins at 1600 images, and the run ends at 1600, so"),
        ({"begin": 1599, "until": 1700, "by": "images"}, None),
    ],
)
def test_schedule_that_begins_after_the_run_is_named(schedule, warning):
    weight = {"schedule": "linear", "start": 1.0, "end": 2.0} | schedule
    train = {"iterations": 100, "batch_size": 8, "discriminator_steps": 2}
    warnings = assemble(tiny_recipe({Pull: {"weight": weight}}, {"train": train})).warnings
    assert len(warnings) == (warning is not None)
    assert all(one.startswith(f"tricks.pull.weight: the schedule {warning}") for one in warnings)
