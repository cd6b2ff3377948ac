"""Hook points: the recipe's order, any subset of the arguments, and one provider where one must be."""

import inspect
from typing import ClassVar

import click
import pluggy
import pytest
import torch
from PIL import Image

from gankit import Extractor, Features, Plugin, Settings, hookimpl, hookspecs
from gankit.errors import PluginError
from gankit.plugin.hooks import Hooks, check_hooks, hooks_of


def active(**plugins):
    """Hooks of plugins given as classes; `optimizer__generator` stands for the key `optimizer.generator`."""
    return Hooks({key.replace("__", "."): plugin(plugin.Config()) for key, plugin in plugins.items()})


def logger(**methods):
    return type("Logger", (Plugin,), {"name": "logger", **{name: hookimpl(f) for name, f in methods.items()}})


class Telling(Plugin):
    name = "telling"
    seen: ClassVar[list] = []

    @hookimpl
    def after_iteration(self, run):
        self.seen.append((self, run))


def test_the_recipes_order_is_the_order():
    hooks = active(**dict.fromkeys("cabzd", Telling))
    Telling.seen.clear()
    hooks.event("after_iteration")("game")
    assert [i.key for i in hooks.of("after_iteration")] == list("cabzd")
    assert [plugin for plugin, _ in Telling.seen] == [i.call.__self__ for i in hooks.of("after_iteration")]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda self: "none", "none"),
        (lambda self, player: player, "d"),
        (lambda self, run, images: (run, images), ("game", "i")),
        (lambda self, source, labels, images: (source, labels, images), ("s", "l", "i")),
        (
            lambda self, images, labels, source, player, run: (images, labels, source, player, run),
            ("i", "l", "s", "d", "game"),
        ),
        (lambda self, run, player, source, labels, images: (run, player), ("game", "d")),
    ],
)
def test_an_implementation_takes_any_of_the_arguments_in_any_order(function, expected):
    hooks = active(a=logger(discriminator_inputs=function))
    assert hooks.calls("discriminator_inputs")[0]("i", "l", "s", "d", "game") == expected


NO_SUCH_HOOK = "a: Logger marks {!r} as a hook, and there is no such hook; {}"


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (
            logger(before_d_stp=lambda self: None),
            NO_SUCH_HOOK.format("before_d_stp", "did you mean 'before_d_step'?"),
        ),
        (logger(qqq=lambda self: None), NO_SUCH_HOOK.format("qqq", "gankit.plugin.hookspecs has them all")),
        (
            logger(before_d_step=lambda self, stp: None),
            "a: Logger: before_d_step has no argument 'stp'; it can take run, step",
        ),
        (
            type("Plain", (Plugin,), {"name": "plain", "turns": lambda self, run: None}),
            "a: turns is not marked as a hook",
        ),
        (
            logger(before_d_step=lambda self, step=None: None),
            "a: before_d_step: 'step' has a default, and would always have it; leave it out",
        ),
        (
            logger(before_d_step=lambda self, *, step: None),
            "a: before_d_step: arguments are passed by their place; write 'step' without *",
        ),
        (
            logger(before_d_step=lambda self, *everything: None),
            "a: before_d_step: arguments are passed by their place; write 'everything' without *",
        ),
    ],
)
def test_a_mistake_in_a_hook_is_an_error_that_says_which(plugin, told):
    with pytest.raises(PluginError) as error:
        active(a=plugin)
    assert str(error.value).startswith(told)
    with pytest.raises(PluginError) as error:
        check_hooks(plugin, "a")
    assert str(error.value).startswith(told)


def test_an_unknown_argument_is_named():
    with pytest.raises(PluginError, match="has no argument 'stp'"):
        active(a=logger(before_d_step=lambda self, stp: None))


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "hookwrapper", "optionalhook", "specname"])
@pytest.mark.parametrize("name", ["after_iteration", "after_iterations"])
def test_options_that_only_pluggy_knows_are_refused(option, name):
    def generator_function(self, run):
        yield

    options = {option: "after_d_step" if option == "specname" else True}
    method = hookimpl(**options)(generator_function if "wrapper" in option else lambda self, run: None)
    plugin = type("Pushy", (Plugin,), {"name": "pushy", name: method})
    with pytest.raises(PluginError, match=rf"a: {name} asks pluggy for {option};.*without options"):
        active(a=plugin)


def test_exactly_one():
    def answering(value):
        return logger(build_generator=lambda self, spec: value)

    assert active(a=answering(None), b=answering("net")).one("build_generator", "spec") == "net"
    with pytest.raises(PluginError, match=r"build_generator is answered by b and c; only one can: drop the others"):
        active(a=answering(None), b=answering(1), c=answering(2)).one("build_generator", "spec")
    with pytest.raises(PluginError, match=r"build_generator must be answered by one plugin, and is by none \(a, b\)"):
        active(a=answering(None), b=answering(None)).one("build_generator", "spec")
    with pytest.raises(PluginError, match=r"by none \(no plugin of the recipe has it\)"):
        active(a=Telling).one("build_generator", "spec")


def test_at_most_one():
    def answering(value):
        return logger(turns=lambda self, run: value)

    assert active(a=answering(None)).one_or_none("turns", "game") is None
    assert active(a=answering(None), b=answering([1])).one_or_none("turns", "game") == [1]
    with pytest.raises(PluginError, match="turns is answered by a and b"):
        active(a=answering([2]), b=answering([1])).one_or_none("turns", "game")
    assert active(a=Telling).sole("turns") is None
    assert active(a=answering([1])).sole("turns")("game") == [1]
    with pytest.raises(PluginError, match="turns is implemented by a and b"):
        active(a=answering(None), b=answering(None)).sole("turns")


def test_answers_are_collected_without_the_nones():
    def answering(value):
        return logger(lr_schedule=lambda self, player: value)

    hooks = active(a=answering(1), b=answering(None), c=answering(3))
    assert hooks.collect("lr_schedule", "generator", "game") == [1, 3]


def test_a_players_slot_is_asked_for_its_player_only():
    class Normalizer(Plugin):
        name = "normalizer"

        @hookimpl
        def normalization(self, player, layer):
            return f"{layer} for {player}"

    hooks = active(normalization__generator=Normalizer, normalization__discriminator=Normalizer)
    assert hooks.one("normalization", "generator", "conv", 3, player="generator") == "conv for generator"
    with pytest.raises(PluginError, match=r"normalization\.generator and normalization\.discriminator"):
        hooks.one("normalization", "generator", "conv", 3)
    # A trick is asked for both, whatever its name.
    both = active(**{"normalization.generator": Normalizer, "tricks.x.discriminator": Telling})
    assert [i.key for i in both.of("after_iteration", "generator")] == ["tricks.x.discriminator"]


def test_the_hooks_of_a_class_without_an_instance():
    class Needy(Plugin):
        name = "needy"

        class Config(Settings):
            needed: int

        @hookimpl
        def on_stop(self):
            pass

        @hookimpl
        def load_data(self):
            pass

        def helper(self):
            pass

    assert hooks_of(Needy) == ["load_data", "on_stop"]
    check_hooks(Needy, "needy")


# Every hook point is described, and every one is called


@pytest.mark.parametrize("name", hookspecs.KIND_OF_HOOK)
def test_every_hook_point_is_described_with_an_example_that_fits(name):
    doc = inspect.getdoc(getattr(hookspecs, name))
    prose, _, example = doc.partition("Example:")
    assert len(prose.split()) > 3
    lines = inspect.cleandoc(example)
    namespace = {}
    exec(compile(lines, name, "exec"), namespace)  # it is Python
    assert list(namespace)[-1] == name
    Hooks({"tricks.example": logger(**{name: namespace[name]})(Settings())})  # and pluggy takes it


def test_every_hook_point_is_of_a_known_kind():
    assert set(hookspecs.KIND_OF_HOOK.values()) <= {"exactly one", "at most one", "event", "chain", "list", "merged"}
    marked = [n for n, f in vars(hookspecs).items() if hasattr(f, "gankit_spec")]
    assert marked == list(hookspecs.KIND_OF_HOOK)


class Recorder(Plugin):
    """Implements every hook point, answers nothing that matters, and writes down who called."""

    name = "recorder"


CALLS: list[tuple[str, dict]] = []


def _recording(name, arguments):
    body = f"CALLS.append(({name!r}, dict({', '.join(f'{a}={a}' for a in arguments)})))"
    answers = {"discriminator_inputs": "images, labels", "sampling_latent": "z", "lr_schedule": "lambda t: 1.0"}
    answer = answers.get(name, "None")
    namespace = {"CALLS": CALLS}
    exec(f"def {name}(self, {', '.join(arguments)}):\n    {body}\n    return {answer}", namespace)
    return hookimpl(namespace[name])


for _name in hookspecs.KIND_OF_HOOK:
    if _name not in ("turns", "sample_latent", "sampling_generator", "backward"):
        _arguments = list(inspect.signature(getattr(hookspecs, _name)).parameters)
        setattr(Recorder, _name, _recording(_name, _arguments))


class SoleRecorder(Plugin):
    """Those hook points that only one plugin may implement at all."""

    name = "sole_recorder"
    turns = _recording("turns", ["run"])

    @hookimpl
    def sampling_generator(self, run):
        CALLS.append(("sampling_generator", {"run": run}))

    @hookimpl
    def sample_latent(self, count, labels, device, generator):
        CALLS.append(("sample_latent", {"count": count, "labels": labels, "device": device, "generator": generator}))
        return torch.randn(count, 4, device=device, generator=generator)

    @hookimpl
    def backward(self, run, step, player, terms):
        CALLS.append(("backward", {"run": run, "step": step, "player": player, "terms": terms}))
        values = {term.name: term.weight * term.function(step) for term in terms}
        sum(values.values()).backward()
        return {name: value.detach() for name, value in values.items()}


NOT_CALLED = {"register_commands"}
"""It is the command line's, which calls it for the verb that is asked for."""


@pytest.fixture
def recorded(shelf, play):
    class Nothing(Plugin):
        name, kind = "nothing", "latent"

        @hookimpl
        def adjust_spec(self, spec):
            spec.latent_size = 4

    class Pixels(Plugin):
        name, kind = "pixels", "extractor"

        @hookimpl
        def build_extractor(self, dataset, device):
            CALLS.append(("build_extractor", {"dataset": dataset, "device": device}))
            return Extractor({"extractor": "pixels"}, lambda images: Features(images.flatten(1).float()))

    for plugin in (Recorder, SoleRecorder, Nothing, Pixels):
        shelf.add(plugin)
    CALLS.clear()
    run = play(
        latent={"use": "Nothing"},
        tricks={"a": {"use": "Recorder"}, "b": {"use": "SoleRecorder"}},
        train={"iterations": 2, "discriminator_steps": 2},
        output={"sample_every": 100, "checkpoint_every": 100},
        extractor={"use": "Pixels"},
        evaluation={"count": 8},
    )
    return list(CALLS), run


TURN = [
    "sample_latent",
    "before_{}_step",
    "backward",
    "discriminator_inputs",  # when a term first asks what D says
    "after_backward",
    "after_{}_step",
]


def test_every_hook_point_is_called_in_its_place(recorded):
    calls, _ = recorded
    names = list(dict.fromkeys(name for name, _ in calls))
    assert set(names) == set(hookspecs.KIND_OF_HOOK) - NOT_CALLED
    assembly = ["check_recipe", "load_data", "adjust_spec", "normalization", "build_generator", "wrap_network"]
    assert [n for n in names if n in assembly] == assembly
    assert names.index("build_discriminator") < names.index("build_optimizer") < names.index("loss_terms")
    loop = [name for name, _ in calls][[name for name, _ in calls].index("on_start") :]
    assert loop[0] == "on_start"
    assert loop[-1] == "on_stop"
    one = loop[loop.index("turns") : loop.index("after_iteration")]
    judged = [n.format("d") for n in TURN]
    assert [n for n in dict.fromkeys(one) if n != "turns"] == list(
        dict.fromkeys(judged + [n.format("g") for n in TURN])
    )
    assert one.count("before_d_step") == 2
    assert one.count("before_g_step") == 1
    assert loop.count("after_iteration") == 2
    # After two iterations, at the end: the losses, then a grid, as `evaluate` has its turn, and the measures.
    told = ("on_log", "on_grid", "evaluate", "metric")
    # The first of the last two says that these measures had nothing to say.
    assert [n for n in loop if n in told] == ["on_log", "on_grid", "evaluate", "metric", "on_log", "on_log"]
    # Before anything is written. Both are asked, and one answers.
    assert [name for name, _ in calls].count("build_extractor") == 2
    assert "build_extractor" not in loop
    assert loop.count("turns") == 2


def test_every_hook_is_called_with_what_it_is_promised(recorded):
    calls, run = recorded
    promised = {
        "recipe": lambda v: v is run.run.recipe,
        "spec": lambda v: v == run.run.spec,
        "run": lambda v: v is run.run or v is None,
        "player": lambda v: v in ("generator", "discriminator"),
        "step": lambda v: v.run is run.run,
        # Two when the networks are shown to each other at assembly, four in a grid.
        "labels": lambda v: v.shape in ((8,), (4,), (2,)),
        # Four in a grid.
        "images": lambda v: v.shape[1:] == (1, 8, 8) and len(v) in (8, 4) and v.dtype == torch.float32,
        "z": lambda v: v.shape in ((8, 4), (4, 4)),
        "redraw": lambda v: v().shape in ((8, 4), (4, 4)),
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
        "dataset": lambda v: v is run.run.dataset,
        "comparison": lambda v: len(v.fake.images) == len(v.real.images) == 8,
        "device": lambda v: v == torch.device("cpu"),
        "row": lambda v: [v] == run.told.rows or "warning" in v or v["protocol"]["extractor"] == "pixels",
        "picture": lambda v: v.size == Image.open(run.path / "samples" / "000002.png").size,
        "generator": lambda v: v is None or isinstance(v, torch.Generator) or v is run.run.generator,
    }
    seen = set()
    for name, arguments in calls:
        for argument, value in arguments.items():
            assert promised[argument](value), (name, argument, value)
            seen.add(argument)
    assert seen == set(promised)
    players = [(name, a["player"]) for name, a in calls if name in ("lr_schedule", "loss_terms", "build_optimizer")]
    assert len(players) == len(set(players)) == 6


def test_the_verb_of_a_plugin_is_registered():
    group = click.Group()

    class Verb(Plugin):
        name, kind = "verb", "command"

        @hookimpl
        def register_commands(self, cli):
            cli.add_command(click.Command("verb"))

    active(a=Verb).event("register_commands")(group)
    assert list(group.commands) == ["verb"]


def test_pluggy_itself_would_call_the_last_first():
    """Why hooks are resolved by hand; when this fails, so may the reason."""
    manager = pluggy.PluginManager("gankit")
    manager.add_hookspecs(hookspecs)
    order = []
    for letter in "ab":
        manager.register(logger(on_stop=lambda self, letter=letter: order.append(letter))(Settings()), name=letter)
    manager.hook.on_stop(run=None)
    assert order == ["b", "a"]
