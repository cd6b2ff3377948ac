"""Rules of the code base, checked in the source: imports, optimiser steps, nothing that executes, plain first words."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

import gankit

CORE = Path(gankit.__file__).parent
PLUGINS = CORE.parent / "plugins" / "gankit_plugins"
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))
CORE_FILES = sorted(CORE.rglob("*.py"))
STEPPING = {"backward", "step"}
EXECUTING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
OTHERS = {"torch", "numpy", "pydantic", "PIL", "rich", "safetensors", "click"}
"""Packages that plugins may import besides gankit, the standard library and the modules beside them."""

EXTRAS = {"tensorboard", "wandb", "mlflow", "trackio", "huggingface_hub", "lmdb", "pyarrow", "datasets", "flwr"}
"""Packages of extras, which may be missing. Plugins import them when they use them."""

ODD_START = re.compile(r"(Of|What|Whether|Who|That|To|In|By|As)\b")
"""First words that make a docstring or comment hard to read."""

HUMAN = re.compile(
    r"\b(nobody|(is|are|to be) told|hands? (in|on)|(is|are) asked|knows? (no|nothing)|of one's own|is to be seen)\b",
    re.I,
)
"""Words that make code talk or feel."""


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """(module, names) of every import; relative ones begin with dots."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def whole_name(node):
    """`torch.save` of an attribute or a name."""
    if isinstance(node, ast.Attribute):
        return f"{whole_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def texts(source):
    """Yield (line, text) of every docstring, attribute docstring and comment."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield statement.lineno, value.value.strip()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def strays(path):
    """Yield the imports of a plugin's file that the rules forbid."""
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


def broken(paths, find):
    """Return what `find` lists for each file, without the files for which it lists nothing."""
    return {str(path.relative_to(CORE.parent)): listed for path in paths if (listed := list(find(path)))}


def test_the_core_imports_no_plugin():
    assert broken(CORE_FILES, lambda path: [m for m, _ in imports(path) if "plugins" in m.split(".")[0]]) == {}
    assert [path for path in CORE_FILES if "gankit_plugins" in path.read_text(encoding="utf-8")] == []


def test_nothing_that_is_read_or_written_executes():
    def executing(path):
        called = {whole_name(n.func) for n in ast.walk(tree(path)) if isinstance(n, ast.Call)}
        yield from called & {"torch.load", "torch.save", "eval", "exec", "torch.jit.load", "torch.export.load"}
        yield from (m for m, _ in imports(path) if m.split(".")[0] in EXECUTING)

    def loading(path):
        return sorted(executing(path))

    # `gankit export` loads the file that it has just written. The extractor `torchscript` loads a network that the user
    # names.
    allowed = {"gankit/sampling/export.py": ["torch.export.load", "torch.jit.load"]}
    allowed |= {"plugins/gankit_plugins/extractor/torchscript.py": ["torch.jit.load"]} if PLUGIN_FILES else {}
    assert broken([*CORE_FILES, *PLUGIN_FILES], loading) == allowed


def test_no_plugin_runs_a_backward_pass_or_an_optimiser_step():
    def stepping(path):
        calls = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
        return [whole_name(n.func) for n in calls if n.func.attr in STEPPING]

    # These modules train their own networks outside of a run: the extractor `classifier`, the command `adagan`, and the
    # metric `table_prediction`.
    own = ("extractor", "classifier.py"), ("command", "mixture_discriminator.py"), ("metric", "table_prediction.py")
    others = [path for path in PLUGIN_FILES if path.parts[-2:] not in own]
    assert broken(others, stepping) == {}


def test_a_plugin_imports_public_names_and_what_lies_beside_it():
    assert broken(PLUGIN_FILES, strays) == {}


def test_a_plugin_imports_an_extra_only_inside_functions():
    def extras(path):
        at_import = [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {getattr(node, "module", None) or node.names[0].name for node in at_import}
        return [module for module in modules if module.split(".")[0] in EXTRAS or module.endswith("tensorboard")]

    assert broken(PLUGIN_FILES, extras) == {}


@pytest.mark.parametrize(
    ("source", "stray"),
    [
        ("from gankit import Plugin, LossTerm\nimport torch, json\nfrom torch import nn\nfrom PIL import Image", []),
        ("from gankit.plugin.step import Step", ["gankit.plugin.step"]),
        ("import gankit", ["gankit"]),
        ("from gankit import Hooks", ["gankit Hooks"]),
        ("from gankit_plugins.loss.hinge import hinge", ["gankit_plugins.loss.hinge"]),
        (
            "from gankit_plugins.trick.helper import x\nfrom gankit_plugins.trick import helper\nfrom .helper import x",
            [],
        ),
        ("from ..loss import hinge", ["..loss"]),
        ("import scipy", ["scipy"]),
    ],
)
def test_the_scan_finds_strays(tmp_path, source, stray):
    folder = tmp_path / "trick"
    folder.mkdir()
    (folder / "helper.py").write_text("")
    (folder / "mine.py").write_text(source)
    assert list(strays(folder / "mine.py")) == stray


def test_docstrings_and_comments_start_with_plain_words():
    def odd(path):
        rows = texts(path.read_text(encoding="utf-8"))
        return [f"{line}: {text[:80]}" for line, text in rows if ODD_START.match(text) or HUMAN.search(text)]

    assert broken([*CORE_FILES, *PLUGIN_FILES], odd) == {}


def test_the_scan_finds_odd_first_words():
    source = '"""Of a module."""\nx = 1\n"""What it is."""\n# By hand.\ny = 2  # nobody knows\n# Offset.\n'
    rows = [text for _, text in texts(source) if ODD_START.match(text) or HUMAN.search(text)]
    assert rows == ["Of a module.", "What it is.", "By hand.", "nobody knows"]


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
