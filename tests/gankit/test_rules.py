"""The rules of the house, held by reading the source: who imports whom, who may step, and that nothing executes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gankit

CORE = Path(gankit.__file__).parent
PLUGINS = CORE.parent / "plugins" / "gankit_plugins"
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))
CORE_FILES = sorted(CORE.rglob("*.py"))
STEPPING = {"backward", "step"}
EXECUTING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
OTHERS = {"torch", "pydantic", "PIL", "rich", "safetensors"}
"""What plugins may import besides gankit, the standard library and what lies beside them."""

EXTRAS = {"tensorboard", "wandb", "mlflow"}
"""What they may import besides, when they are used: it comes with an extra, and may not be there."""


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """(module, names) of every import; relative ones begin with dots."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def named(path):
    return str(path.relative_to(CORE.parent))


def whole_name(node):
    """`torch.save` of an attribute or a name."""
    if isinstance(node, ast.Attribute):
        return f"{whole_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def strays(path):
    """What a plugin's file imports that it should not."""
    beside = {p.stem for p in path.parent.iterdir()}
    for module, names in imports(path):
        top, _, rest = module.partition(".")
        if top == "gankit":
            hidden = [n for n in names if n not in gankit.__all__]
            if rest or hidden or not names:
                yield f"{module} {' '.join(hidden)}".strip()
        elif top == "gankit_plugins":
            folder, _, name = rest.partition(".")
            if folder != "layers" and (folder != path.parent.name or (name or names[0]).split(".")[0] not in beside):
                yield module
        elif not top:
            if not module.startswith(".") or module.startswith(".."):
                yield module
        elif top not in OTHERS | EXTRAS and top not in sys.stdlib_module_names:
            yield module


@pytest.mark.parametrize("path", CORE_FILES, ids=named)
def test_the_core_imports_no_plugin(path):
    assert [m for m, _ in imports(path) if "plugins" in m.split(".")[0] or m.startswith("gankit_plugins")] == []
    assert "gankit_plugins" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [*CORE_FILES, *PLUGIN_FILES], ids=named)
def test_nothing_that_is_read_or_written_executes(path):
    assert [m for m, _ in imports(path) if m.split(".")[0] in EXECUTING] == []
    called = {whole_name(n.func) for n in ast.walk(tree(path)) if isinstance(n, ast.Call)}
    executing = called & {"torch.load", "torch.save", "eval", "exec", "torch.jit.load"}
    # A network that the user names, or asks for, to measure with.
    assert executing == ({"torch.jit.load"} if path.name == "torchscript.py" else set())


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=named)
def test_no_plugin_runs_a_backward_pass_or_a_step_of_its_own(path):
    calls = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    stepping = [whole_name(n.func) for n in calls if n.func.attr in STEPPING]
    # The classifier with which measures see images is trained before, and takes no part in the game.
    assert not stepping or path.parts[-2:] == ("extractor", "classifier.py")


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=named)
def test_a_plugin_imports_public_names_and_what_lies_beside_it(path):
    assert list(strays(path)) == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=named)
def test_a_plugin_imports_an_extra_only_inside_functions(path):
    at_import = [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in at_import}
    assert {module for module in modules if module.split(".")[0] in EXTRAS or module.endswith("tensorboard")} == set()


@pytest.mark.parametrize(
    ("source", "stray"),
    [
        ("from gankit import Plugin, LossTerm\nimport torch, json\nfrom torch import nn\nfrom PIL import Image", []),
        ("from gankit.training.run import TrainingRun", ["gankit.training.run"]),
        ("import gankit", ["gankit"]),
        ("from gankit import Hooks", ["gankit Hooks"]),
        ("from gankit_plugins.loss.hinge import hinge", ["gankit_plugins.loss.hinge"]),
        (
            "from gankit_plugins.trick.helper import x\nfrom gankit_plugins.trick import helper\nfrom .helper import x",
            [],
        ),
        ("from ..loss import hinge", ["..loss"]),
        ("import numpy", ["numpy"]),
    ],
)
def test_the_scan_finds_strays(tmp_path, source, stray):
    folder = tmp_path / "trick"
    folder.mkdir()
    (folder / "helper.py").write_text("")
    (folder / "mine.py").write_text(source)
    assert list(strays(folder / "mine.py")) == stray


def test_there_is_a_core_to_scan():
    assert len(CORE_FILES) > 20


@pytest.mark.parametrize(
    "code",
    [
        "import gankit",
        "import gankit.cli",
        "from gankit import InputError, Plugin, Settings, hookimpl, Recipe",
        "from gankit.plugin.registry import Registry; Registry.installed().names('trick')",
        "from gankit.cli import cli; cli.list_commands(None)",
    ],
)
def test_what_needs_no_torch_imports_none(code):
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('torch' in sys.modules, 'numpy' in sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.stdout.split() == ["False", "False"], said.stderr


def test_the_public_names_are_there():
    for name in gankit.__all__:
        assert getattr(gankit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gankit.nothing  # noqa: B018
