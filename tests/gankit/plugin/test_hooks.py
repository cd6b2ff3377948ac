"""Hook points: the order of the recipe, any subset of the arguments, and at most one value where one is allowed."""

import inspect
import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch import nn

from gankit import Dataset, Extractor, ExtraNetwork, Features, LossTerm, Plugin, Settings, Step, hookimpl
from gankit.errors import PluginError
from gankit.plugin import hookspecs
from gankit.plugin.hooks import Hooks, check_hooks, hooks_of


def active(**plugins):
    """Return the hooks of plugin classes by key, with `optimizer__generator` for the key `optimizer.generator`."""
    return Hooks({key.replace("__", "."): plugin(plugin.Config()) for key, plugin in plugins.items()})


def plugin_with(**methods):
    return type("Sample", (Plugin,), {"name": "sample", **{name: hookimpl(f) for name, f in methods.items()}})


class Recording(Plugin):
    name = "recording"
    seen: ClassVar[list] = []

    @hookimpl
    def after_iteration(self, run):
        self.seen.append((self, run))


def test_plugins_are_called_in_the_order_of_the_recipe():
    hooks = active(**dict.fromkeys("cabzd", Recording))
    Recording.seen.clear()
    hooks.event("after_iteration")("run")
    assert [i.key for i in hooks.of("after_iteration")] == list("cabzd")
    assert [plugin for plugin, _ in Recording.seen] == [i.plugin for i in hooks.of("after_iteration")]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda self: "none", "none"),
        (lambda self, player, run: (player, run), ("d", "run")),
        (lambda self, run, step, player: (run, step, player), ("run", "s", "d")),
        (lambda self, player, step, run: (run, player), ("run", "d")),
        (lambda this, run: run, "run"),
        (staticmethod(hookimpl(lambda run: run)), "run"),
        (classmethod(hookimpl(lambda cls, run: run)), "run"),
    ],
)
def test_an_implementation_takes_any_of_the_arguments_in_any_order(function, expected):
    hooks = active(a=plugin_with(after_backward=function))
    assert hooks.calls("after_backward")[0]("run", "s", "d") == expected


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("before_d_stp", lambda self: None, "there is no such hook point; did you mean 'before_d_step'?"),
        ("qqq", lambda self: None, "there is no such hook point; gankit.plugin.hookspecs lists them"),
        ("before_d_step", lambda self, stp: None, "before_d_step has no argument 'stp'; it can take run, step"),
        ("before_d_step", staticmethod(hookimpl(lambda stp: None)), "before_d_step has no argument 'stp'"),
        ("before_d_step", lambda self, step=None: None, "'step' has a default, so it would always have that value"),
        ("before_d_step", lambda self, *, step: None, "arguments are passed by position; write 'step' without *"),
        ("before_d_step", lambda self, *all: None, "arguments are passed by position; write 'all' without *"),
        ("step_order", None, "step_order is not marked as a hook"),
    ],
)
def test_a_mistake_in_a_hook_is_an_error(name, function, message):
    plugin = plugin_with(**{name: function}) if function else type("Plain", (Plugin,), {name: lambda self, run: None})
    for check in (lambda: active(a=plugin), lambda: check_hooks(plugin, "a")):
        with pytest.raises(PluginError) as error:
            check()
        assert str(error.value).startswith("a: ")
        assert message in str(error.value)


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "hookwrapper", "optionalhook", "specname"])
@pytest.mark.parametrize("name", ["after_iteration", "after_iterations"])
def test_options_of_pluggy_are_refused(option, name):
    def generator_function(self, run):
        yield

    options = {option: "after_d_step" if option == "specname" else True}
    method = hookimpl(**options)(generator_function if "wrapper" in option else lambda self, run: None)
    plugin = type("Pushy", (Plugin,), {"name": "pushy", name: method})
    with pytest.raises(PluginError, match=rf"a: {name} has the pluggy option {option};.*without options"):
        active(a=plugin)


def returning(hook, value):
    return plugin_with(**{hook: lambda self: value})


def test_exactly_one_plugin_returns_a_value():
    hook = "build_generator"
    networks = [nn.Identity(), nn.Identity()]
    nothing, one, two = (returning(hook, value) for value in (None, *networks))
    assert active(a=nothing, b=one).one(hook, "spec") is networks[0]
    for plugins, message in [
        ({"a": nothing, "b": one, "c": two}, f"b and c provide `{hook}`; only one plugin can; remove the others"),
        ({"a": nothing, "b": nothing}, f"no plugin provides `{hook}`; exactly one must (implemented by a, b"),
        ({"a": Recording}, "exactly one must (no plugin of the recipe implements it)"),
    ]:
        with pytest.raises(PluginError, match=re.escape(message)):
            active(**plugins).one(hook, "spec")


def test_at_most_one_plugin_returns_a_value():
    hook = "step_order"
    orders = [["generator"], ["discriminator"]]
    nothing, one, two = (returning(hook, value) for value in (None, *orders))
    assert active(a=nothing, b=one).one(hook, "run") == orders[0]
    with pytest.raises(PluginError, match="a and b provide `step_order`"):
        active(a=two, b=one).one(hook, "run")
    assert active(a=Recording).sole(hook) is None
    assert active(a=one).sole(hook)("run") == orders[0]
    assert active(a=nothing, b=nothing).sole(hook)("run") is None
    assert active(a=nothing, b=one, c=nothing).sole(hook)("run") == orders[0]
    with pytest.raises(PluginError, match="b and c provide `step_order`; only one plugin can"):
        active(a=nothing, b=one, c=two).sole(hook)("run")


def test_two_backward_passes_are_refused_unless_one_declines():
    values, nothing = returning("backward", {}), returning("backward", None)
    with pytest.raises(PluginError, match="a and b provide `backward`; only one plugin can"):
        active(a=values, b=values).sole("backward")("run", "step", "generator", [])
    assert active(a=nothing, b=values).sole("backward")("run", "step", "generator", []) == {}


IMAGES = torch.zeros(2, 1, 4, 4)
TERM = LossTerm("x", lambda step: step.z.mean())

VALUES = {
    "check_recipe": ([["words"], [], None], ["words", [1], 5], "a list of sentences"),
    "load_data": ([Dataset((1, 4, 4), None, lambda: (IMAGES, None)), None], [(IMAGES, None)], "a gankit.Dataset"),
    "normalization": ([nn.Identity(), None], [nn.Identity, "conv"], "an nn.Module"),
    "build_generator": ([nn.Identity(), None], [lambda z, labels: z], "an nn.Module"),
    "build_discriminator": ([nn.Identity(), None], [nn.Identity], "an nn.Module"),
    "wrap_network": ([nn.Identity(), None], [nn.Identity], "an nn.Module"),
    "extra_networks": (
        [{"encoder": ExtraNetwork(nn.Identity())}, {}, None],
        [ExtraNetwork(nn.Identity()), {"encoder": nn.Identity()}],
        "a dict of gankit.ExtraNetwork by name",
    ),
    "build_optimizer": (
        [torch.optim.SGD([nn.Parameter(IMAGES)], 0.1), None],
        [torch.optim.SGD],
        "a torch.optim.Optimizer",
    ),
    "lr_schedule": ([lambda t: 1.0, None], [0.5], "a function of the iteration"),
    "wrap_loss": (
        [{"generator": [], "discriminator": []}, None],
        [[TERM], {}, {"generator": []}],
        "a dict with the terms of each player",
    ),
    "loss_terms": ([[TERM], (TERM,), [], None], [TERM, [TERM.function]], "a list of gankit.LossTerm"),
    "step_order": (
        [["generator"], ("discriminator", "generator"), [], None],
        [["critic"], "generator", 2],
        'a list of "generator" and "discriminator"',
    ),
    "sample_latent": ([IMAGES, None], [[0.0]], "a tensor z"),
    "sampling_conditions": ([IMAGES, None], [[0.0], (IMAGES, None)], "a tensor"),
    "truncate_latent": ([IMAGES, None], [[0.0], (IMAGES, None)], "a tensor z"),
    "sampling_latent": ([IMAGES], [None, [0.0]], "a tensor z"),
    "draw_step": ([Step(None, "generator", IMAGES, None, IMAGES, IMAGES), None], [(IMAGES, None)], "a gankit.Step"),
    "discriminator_inputs": (
        [(IMAGES, None), (IMAGES, torch.zeros(2))],
        [None, IMAGES, (IMAGES,), (IMAGES, None, None), (None, None)],
        "a tuple (images, condition)",
    ),
    "loss_weights": (
        [{"x": 0.5, "y": torch.zeros(())}, {}, None],
        [0.5, {"x": "high"}, {"x": torch.zeros(2)}],
        "a dict of numbers or scalar tensors by name",
    ),
    "backward": (
        [{"x": torch.zeros(())}, {}, None],
        [{"x": 0.5}, torch.zeros(())],
        "a dict with the value of each term, a tensor",
    ),
    "sampling_generator": ([nn.Identity(), None], ["average"], "an nn.Module"),
    "draw_samples": ([Image.new("L", (2, 2)), None], [IMAGES], "a PIL image"),
    "save_samples": ([[Path("a.wav")], [], None], [IMAGES, ["a.wav"]], "a list of paths"),
    "save_sample_file": ([Path("a.csv"), None], ["a.csv", [Path("a.csv")]], "a path"),
    "encode": ([IMAGES, None], [[0.0], (IMAGES, None)], "a tensor z"),
    "find_parts": ([{"sky": IMAGES[:, 0] > 0}, {}, None], [IMAGES, {"sky": [True]}], "a dict of masks by name"),
    "build_extractor": ([Extractor({}, lambda images: None), None], [lambda images: images], "a gankit.Extractor"),
    "log_values": (
        [{"p": 1.0, "n": 2, "t": torch.zeros(())}, {}, None],
        [1.0, {"p": "high"}, {"p": torch.zeros(2)}],
        "a dict of numbers or scalar tensors by name",
    ),
    "generator_facts": (
        [{"epsilon": 1.5, "steps": 2, "unit": "one image"}, {}, None],
        [1.0, {"epsilon": float("inf")}, {"epsilon": torch.zeros(())}],
        "a dict of finite numbers or texts by name",
    ),
    "compute_metrics": ([{"x": 1.0}, {}, None], [1.0, [("x", 1.0)]], "a dict of numbers by name"),
}
"""Allowed values, values that are refused, and the description in the error message, for each hook with a value."""


def test_the_values_of_all_hooks_but_the_events_are_checked():
    assert set(VALUES) == {name for name, kind in hookspecs.KIND_OF_HOOK.items() if kind != "event"}


@pytest.mark.parametrize("hook", VALUES)
def test_wrong_values_name_the_plugin_and_the_hook(hook):
    allowed, wrong, description = VALUES[hook]
    arguments = [None] * len(inspect.signature(getattr(hookspecs, hook)).parameters)
    for value in allowed:
        assert active(a=returning(hook, value)).calls(hook)[0](*arguments) is value
    for value in wrong:
        with pytest.raises(PluginError) as error:
            active(a=returning(hook, value)).calls(hook)[0](*arguments)
        assert re.match(rf"\w+\.{hook} \(a\) returns .*; it must return ", str(error.value))
        assert str(error.value).endswith(description)


def test_generator_functions_are_lists():
    def loss_terms(self):
        yield TERM

    def wrong(self):
        yield TERM
        yield 5

    assert active(a=plugin_with(loss_terms=loss_terms)).calls("loss_terms")[0]("generator", None) == [TERM]
    with pytest.raises(PluginError, match=r"must return a list of gankit\.LossTerm"):
        active(a=plugin_with(loss_terms=wrong)).calls("loss_terms")[0]("generator", None)


def test_an_exception_has_a_note_with_the_plugin_and_the_hook():
    def failing(self):
        raise KeyError("z")

    def failing_later(self):
        yield TERM
        raise KeyError("z")

    for hook, function in (("before_d_step", failing), ("loss_terms", failing_later)):
        with pytest.raises(KeyError) as error:
            active(a=plugin_with(**{hook: function})).calls(hook)[0]("run", "step")
        (note,) = error.value.__notes__
        assert re.fullmatch(rf"raised by \w+\.{hook} \(a\)", note)


def test_a_plugin_in_a_slot_of_one_player_is_called_for_that_player_only():
    class Normalizer(Plugin):
        name = "normalizer"

        @hookimpl
        def normalization(self, player, layer):
            return nn.ModuleDict({player: layer})

    hooks = active(normalization__generator=Normalizer, normalization__discriminator=Normalizer)
    conv = nn.Conv2d(1, 1, 1)
    assert hooks.one("normalization", "generator", conv, 3, player="generator")["generator"] is conv
    with pytest.raises(PluginError, match=r"normalization\.generator and normalization\.discriminator"):
        hooks.one("normalization", "generator", conv, 3)
    # A trick is called for both players, whatever its name.
    both = active(**{"normalization.generator": Normalizer, "tricks.x.discriminator": Recording})
    assert [i.key for i in both.of("after_iteration", "generator")] == ["tricks.x.discriminator"]


def test_hooks_of_a_class_that_needs_settings():
    class Required(Plugin):
        name = "required"

        class Config(Settings):
            width: int

        @hookimpl
        def on_stop(self):
            pass

        @hookimpl
        def load_data(self):
            pass

        def helper(self):
            pass

    assert hooks_of(Required) == ["load_data", "on_stop"]
    check_hooks(Required, "required")


# All hook points


@pytest.mark.parametrize("name", hookspecs.KIND_OF_HOOK)
def test_the_docstring_of_a_hook_point_has_a_valid_example(name):
    doc = inspect.getdoc(getattr(hookspecs, name))
    prose, _, example = doc.partition("Example:")
    assert len(prose.split()) > 3
    lines = inspect.cleandoc(example)
    namespace = {}
    exec(compile(lines, name, "exec"), namespace)  # valid Python
    assert list(namespace)[-1] == name
    Hooks({"tricks.example": plugin_with(**{name: namespace[name]})(Settings())})  # accepted by pluggy


def test_every_hook_point_has_a_known_kind():
    assert set(hookspecs.KIND_OF_HOOK.values()) <= {"exactly one", "at most one", "event", "chain", "list", "merged"}
    marked = [n for n, f in vars(hookspecs).items() if hasattr(f, "gankit_spec")]
    assert marked == list(hookspecs.KIND_OF_HOOK)


class Recorder(Plugin):
    """Plugin that implements every hook point that several plugins may implement, and changes nothing."""

    name = "recorder"


class SoleRecorder(Plugin):
    """Plugin with the hook points that only one plugin may implement."""

    name = "sole_recorder"

    @hookimpl
    def backward(self, run, step, player, terms):
        CALLS.append(("backward", {"run": run, "step": step, "player": player, "terms": terms}))
        values = {term.name: term.weight * term.function(step) for term in terms}
        sum(values.values()).backward()
        return {name: value.detach() for name, value in values.items()}


CALLS: list[tuple[str, dict]] = []

RESULTS = {
    "discriminator_inputs": "images, condition",
    "lr_schedule": "lambda t: 1.0",
    "sample_latent": "torch.randn(count, 4, device=device, generator=generator)",
    "sampling_latent": "z",
}

for _name in set(hookspecs.KIND_OF_HOOK) - {"backward"}:
    _arguments = list(inspect.signature(getattr(hookspecs, _name)).parameters)
    _call = f"CALLS.append(({_name!r}, dict({', '.join(f'{a}={a}' for a in _arguments)})))"
    _namespace = {"CALLS": CALLS, "torch": torch}
    exec(f"def {_name}(self, {', '.join(_arguments)}):\n    {_call}\n    return {RESULTS.get(_name)}", _namespace)
    _class = SoleRecorder if _name in ("step_order", "sample_latent") else Recorder
    setattr(_class, _name, hookimpl(_namespace[_name]))


NOT_CALLED = {"register_commands", "encode", "find_parts", "truncate_latent", "save_sample_file"}
"""Hook points that a run does not call. The command line calls them."""


@pytest.fixture
def recorded(shelf, train_toy):
    class Size(Plugin):
        name, kind = "size", "latent"

        @hookimpl
        def adjust_spec(self, spec):
            spec.latent_size = 4

    class Pixels(Plugin):
        name, kind = "pixels", "extractor"

        @hookimpl
        def build_extractor(self, dataset, device):
            CALLS.append(("build_extractor", {"dataset": dataset, "device": device}))
            return Extractor({"extractor": "pixels"}, lambda images: Features(images.flatten(1).float()))

    for plugin in (Recorder, SoleRecorder, Size, Pixels):
        shelf.add(plugin)
    CALLS.clear()
    run = train_toy(
        latent={"use": "Size"},
        tricks={"a": {"use": "Recorder"}, "b": {"use": "SoleRecorder"}},
        train={"iterations": 2, "discriminator_steps": 2},
        output={"sample_every": 100, "checkpoint_every": 100},
        extractor={"use": "Pixels"},
        evaluation={"count": 8},
    )
    return list(CALLS), run


def test_every_hook_point_is_called_in_order(recorded):
    calls, _ = recorded
    names = list(dict.fromkeys(name for name, _ in calls))
    assert set(names) == set(hookspecs.KIND_OF_HOOK) - NOT_CALLED
    assembly = ["check_recipe", "load_data", "adjust_spec", "normalization", "build_generator", "wrap_network"]
    assert [n for n in names if n in assembly] == assembly
    assert names.index("build_discriminator") < names.index("build_optimizer") < names.index("loss_terms")
    loop = [name for name, _ in calls][[name for name, _ in calls].index("on_start") :]
    assert loop[0] == "on_start"
    assert loop[-1] == "on_stop"
    one = loop[loop.index("step_order") : loop.index("after_iteration")]
    # `discriminator_inputs` follows `backward`, because a loss term is the first to use the output of D.
    d_step = ["draw_step", "sample_latent", "before_d_step", "loss_weights", "backward", "discriminator_inputs"]
    d_step += ["after_backward", "after_d_step"]
    assert list(dict.fromkeys(one)) == ["step_order", *d_step, "before_g_step", "after_g_step"]
    assert one.count("before_d_step") == 2
    assert one.count("before_g_step") == 1
    assert loop.count("before_iteration") == loop.count("after_iteration") == 2
    assert loop.index("before_iteration") < loop.index("step_order")
    # After the last iteration: losses, grid, metrics, a warning that no metric applies, and the row of the metrics.
    outputs = ("on_log", "on_grid", "compute_metrics")
    assert [n for n in loop if n in outputs] == ["on_log", "on_grid", "compute_metrics", "on_log", "on_log"]
    # Called before the run directory is created, for both plugins; one returns an extractor.
    assert [name for name, _ in calls].count("build_extractor") == 2
    assert "build_extractor" not in loop
    assert loop.count("step_order") == 2


def test_every_hook_gets_the_documented_arguments(recorded):
    calls, run = recorded
    expected = {
        "recipe": lambda v: v is run.run.recipe,
        "spec": lambda v: v == run.run.spec,
        "run": lambda v: v is run.run or v is None,
        "player": lambda v: v in ("generator", "discriminator"),
        "step": lambda v: v.run is run.run,
        # Two in the check of the networks at assembly, four in a grid.
        "condition": lambda v: v.shape in ((8,), (4,), (2,)),
        # Four in a grid.
        "images": lambda v: v.shape[1:] == (1, 8, 8) and len(v) in (8, 4) and v.dtype == torch.float32,
        "z": lambda v: v.shape in ((8, 4), (4, 4)),
        "requested": lambda v: v == {},
        "redraw": lambda v: v().shape in ((8, 4), (4, 4)),
        "truncate": callable,
        "samples": lambda v: v.shape[1:] == run.run.spec.shape and -1 <= v.min() <= v.max() <= 1,
        "source": lambda v: v in ("real", "fake"),
        "terms": lambda v: (
            [t.name for p in v for t in v[p]] == ["fool", "real", "fake"]
            if isinstance(v, dict)
            else [t.name for t in v] in (["real", "fake"], ["fool"])
        ),
        "network": lambda v: isinstance(v, torch.nn.Module),
        "layer": lambda v: isinstance(v, torch.nn.Linear),
        "features": lambda v: v in (5, 6),
        "parameters": lambda v: all(isinstance(p, torch.nn.Parameter) for p in v),
        "count": lambda v: v in (8, 4, 2),
        "dataset": lambda v: torch.equal(v.load()[0], run.run.dataset.load()[0]),
        "comparison": lambda v: len(v.fake.images) == len(v.real.images) == 8,
        "device": lambda v: v == torch.device("cpu"),
        "row": lambda v: [v] == run.reporter.rows or "warning" in v or v["protocol"]["extractor"] == "pixels",
        "picture": lambda v: v.size == Image.open(run.path / "samples" / "000002.png").size,
        "generator": lambda v: v is None or isinstance(v, torch.Generator) or v is run.run.generator,
        "columns": lambda v: v == 2,
        "row_names": lambda v: v == ("a", "b"),
        "names": lambda v: v == ["000000_a", "000001_a", "000002_b", "000003_b"],
        "folder": lambda v: v.parent == run.path / "samples",
    }
    seen = set()
    for name, arguments in calls:
        for argument, value in arguments.items():
            assert expected[argument](value), (name, argument, value)
            seen.add(argument)
    assert seen == set(expected)
    players = [(name, a["player"]) for name, a in calls if name in ("lr_schedule", "loss_terms", "build_optimizer")]
    assert len(players) == len(set(players)) == 6
