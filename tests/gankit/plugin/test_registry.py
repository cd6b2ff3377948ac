"""Registry: plugins are listed without imports, and a broken package does not affect the others."""

import hashlib
import importlib
import sys
from pathlib import Path

import pytest

from gankit.errors import PluginError
from gankit.plugin.registry import Entry, Registry


def source_of(class_name, kind="trick"):
    """Return the source of a plugin whose name is that of the class in lower case."""
    attributes = f"    name, kind = {class_name.lower()!r}, {kind!r}\n"
    return f"from gankit import Plugin\nclass {class_name}(Plugin):\n{attributes}"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder on the path for distributions, as pip installs them."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def distribution(site: Path, name: str, points: str | list[str], version: str = "2.5", **modules: str) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    text = points if isinstance(points, str) else "\n".join(["[gankit.plugins]", *points, ""])
    (info / "entry_points.txt").write_text(text)
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)


def find(use, kind="trick", folder=Path()):
    return Registry.installed().find(use, (kind,), folder)


def entries_of(name):
    return [e for e in Registry.installed().entries if e.distribution == name]


def test_only_what_is_named_is_imported(site):
    broken = "import sys\nsys.shy_was_here = True\nraise RuntimeError('no')"
    distribution(site, "shy", ["trick.shy = shy_module:Shy"], shy_module=broken)
    distribution(site, "bold", ["trick.bold = bold_module:Bold"], bold_module=source_of("Bold"))
    assert entries_of("shy") == [Entry("trick", "shy", "shy", "2.5", "shy_module:Shy")]
    assert {"shy", "bold"} <= set(Registry.installed().names("trick"))
    assert find("bold").target.__name__ == "Bold"
    assert not hasattr(sys, "shy_was_here")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise RuntimeError('out of luck')", "RuntimeError: out of luck"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "AttributeError"),
        ("from gankit import not_there_yet", "it may need a newer gankit"),
    ],
)
def test_an_error_at_import_names_the_plugin_and_the_cause(site, source, cause):
    module = f"broken_{abs(hash(source))}"
    distribution(site, "sad", [f"trick.sad = {module}:Sad"], **{module: source})
    with pytest.raises(PluginError) as error:
        find("sad")
    assert str(error.value).startswith("plugin 'trick.sad' of sad 2.5 cannot be imported from ")
    assert cause in str(error.value)


def test_an_entry_point_that_is_not_a_class_is_refused(site):
    distribution(site, "flat", ["trick.flat = flat_module:flat"], flat_module="flat = 7")
    with pytest.raises(PluginError, match=r"'trick.flat' of flat 2.5: flat_module:flat is not a class"):
        find("flat")


LEFTOVER = "[gankit.plugins]\ntrick.gone = gone:Gone\n"
"""Entry points of a distribution that was uninstalled incompletely."""


@pytest.mark.parametrize(
    "points",
    [
        "[gankit.plugins]\nno equals sign here\n",
        "garbage\x00",
        "= = =\n[",
        "[gankit.plugins]\ntrick.x = a b:c!\n",
        LEFTOVER,
    ],
)
def test_broken_metadata_does_not_affect_other_distributions(site, points):
    distribution(site, "garbled", points)
    if points == LEFTOVER:
        (site / "garbled-2.5.dist-info" / "METADATA").unlink()
    distribution(site, "fine", ["trick.fine = fine_module:Fine"], fine_module=source_of("Fine"))
    assert find("fine").distribution == "fine"


@pytest.mark.parametrize("points", [["trick.kept = new_module:Kept"], []])
def test_a_shadowed_copy_of_a_distribution_is_ignored(site, monkeypatch, points):
    distribution(site, "double", ["trick.kept = old_module:Kept", "trick.gone = old_module:Gone"])
    monkeypatch.syspath_prepend(site.parent / "first")
    distribution(site.parent / "first", "double", points, version="3.0")
    expected = [Entry("trick", "kept", "double", "3.0", "new_module:Kept")] if points else []
    assert entries_of("double") == expected


@pytest.fixture
def twins(site):
    """Install two distributions that provide plugins of the same name."""
    distribution(site, "castor", ["trick.twin = castor_module:Twin"], castor_module=source_of("Twin"))
    distribution(site, "pollux-gan", ["trick.twin = pollux_module:Twin"], pollux_module=source_of("Twin"))


def test_a_name_that_two_distributions_provide_is_refused(twins):
    with pytest.raises(PluginError) as error:
        find("twin")
    assert 'use = "twin@castor" or "twin@pollux-gan"' in str(error.value)
    assert find("twin@castor").origin == "castor_module:Twin"
    assert find("twin@pollux-gan").origin == "pollux_module:Twin"
    assert find("twin@castor").use == "twin@castor"


def test_the_recorded_distribution_is_preferred_in_any_spelling(twins):
    registry = Registry.installed()
    assert registry.find("twin", ("trick",), Path(), recorded="castor").distribution == "castor"
    assert registry.find("twin@Pollux_GAN", ("trick",), Path()).distribution == "pollux-gan"
    with pytest.raises(PluginError, match="2 distributions provide"):
        registry.find("twin", ("trick",), Path(), recorded="gone")
    with pytest.raises(PluginError, match="castor has no trick called 'twine'; did you mean 'twin'"):
        registry.find("twine@castor", ("trick",), Path())


def test_a_name_with_a_kind_has_priority(site):
    distribution(site, "plain", ["twin = plain_module:Twin"], plain_module="1 / 0")
    distribution(site, "exact", ["loss.twin = exact_module:Twin"], exact_module=source_of("Twin", "loss"))
    assert find("twin", "loss").distribution == "exact"


def test_an_unknown_kind_names_the_distribution(site):
    distribution(site, "sloppy", ["tricks.odd_one = sloppy_module:Odd"], sloppy_module="")
    with pytest.raises(PluginError, match=r"sloppy provides 'tricks.odd_one', but there is no kind 'tricks'"):
        find("odd_one")


def test_two_kinds_may_have_plugins_of_the_same_name(site):
    source = source_of("A") + source_of("B", "loss")
    distribution(site, "both", ["trick.twofold = both_module:A", "loss.twofold = both_module:B"], both_module=source)
    assert find("twofold", "trick").target.__name__ == "A"
    assert find("twofold", "loss").target.__name__ == "B"


def test_a_name_without_a_kind_fits_every_place(site):
    distribution(site, "bare", ["bare = bare_module:Bare"], bare_module=source_of("Bare", "loss"))
    assert entries_of("bare") == [Entry(None, "bare", "bare", "2.5", "bare_module:Bare")]
    assert find("bare", "loss").target.__name__ == "Bare"
    assert "bare" in Registry.installed().names("trick")


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        ("adm", "optimizer", "no optimizer called 'adm' is installed; did you mean 'adam'? installed: adam, sgd"),
        ("qqq", "optimizer", "no optimizer called 'qqq' is installed; installed: adam, sgd"),
        (
            "hinge",
            "optimizer",
            "'hinge' is a plugin for loss, not for optimizer (write loss=hinge); installed: adam, sgd",
        ),
        (
            "adam",
            "latent",
            "'adam' is a plugin for optimizer, not for latent (write optimizer.generator=adam or "
            "optimizer.discriminator=adam); none is installed",
        ),
        ("adam@elsewhere", "optimizer", "elsewhere is not installed; try `pip install elsewhere`"),
    ],
)
def test_an_unknown_name_is_refused_with_suggestions(use, kind, message):
    known = [("optimizer", "adam"), ("optimizer", "sgd"), ("loss", "hinge")]
    registry = Registry([Entry(own_kind, name, "gankit", "1", "x:Y") for own_kind, name in known])
    with pytest.raises(PluginError) as error:
        registry.find(use, (kind,), Path())
    assert str(error.value) == message


def test_a_long_list_is_replaced_by_a_command():
    registry = Registry([Entry("trick", f"t{n}", "d", "1", "x:Y") for n in range(13)])
    with pytest.raises(PluginError, match=r"`gankit list-plugins --kind trick` lists all"):
        registry.find("nothing", ("trick",), Path())


def test_a_class_in_a_file_relative_to_the_recipe(tmp_path):
    (tmp_path / "mine.py").write_text(source_of("Mine"))
    found = find("./mine.py:Mine", folder=tmp_path)
    assert found.target.__name__ == "Mine"
    assert found.use == f"{tmp_path / 'mine.py'}:Mine"
    assert found.source_digest == hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    assert find(found.use, folder=Path("/")).use == found.use


def test_a_file_may_import_files_beside_it_without_hiding_other_modules(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "module_beside.py").write_text("GAIN = 3")
    (tmp_path / "json.py").write_text("1 / 0")
    (tmp_path / "mine.py").write_text("import json\nfrom module_beside import GAIN\nclass Mine:\n    gain = GAIN\n")
    assert find("./mine.py:Mine", folder=tmp_path).target.gain == 3


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_files_that_import_each_other_are_imported_once(tmp_path, monkeypatch, order):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "one.py").write_text("class A: pass\n")
    (tmp_path / "two.py").write_text("from one import A\nclass B(A): pass\n")
    classes = {name: find(f"{name}.py:{'A' if name == 'one' else 'B'}", folder=tmp_path).target for name in order}
    assert issubclass(classes["two"], classes["one"])
    (tmp_path / "one.py").write_text("class A:\n    changed = True\n")
    assert find("one.py:A", folder=tmp_path).target.changed
    assert importlib.import_module("one").A.changed
    (tmp_path / "two.py").write_text("from one import A\nclass B(A):\n    changed_too = True\n")
    assert issubclass(find("two.py:B", folder=tmp_path).target, find("one.py:A", folder=tmp_path).target)


def test_modules_without_a_real_file_are_left_alone(tmp_path, monkeypatch):
    """torch.ops has the relative file name _ops.py, which is a file in no folder or in that of the plugin."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maker.py").write_text(
        "import sys, types\n"
        "for name in ('without_file', 'pkg.below'):\n"
        "    module = types.ModuleType(name)\n"
        "    module.__file__ = '_ops.py'\n"
        "    sys.modules[name] = module\n"
        "class A: pass\n"
    )
    assert find("maker.py:A", folder=tmp_path).target.__name__ == "A"
    for name in ("without_file", "pkg.below"):
        del sys.modules[name]


def test_a_file_that_fails_leaves_no_module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken_file.py").write_text("1 / 0\n")
    with pytest.raises(PluginError, match="division by zero"):
        find("broken_file.py:A", folder=tmp_path)
    assert not [name for name in sys.modules if "broken_file" in name]


def test_classes_of_one_file_share_a_module_until_it_changes(tmp_path):
    file = tmp_path / "pair.py"
    file.write_text("class A: pass\nclass B(A): pass\n")
    a, b = find("pair.py:A", folder=tmp_path), find("pair.py:B", folder=tmp_path)
    assert issubclass(b.target, a.target)
    file.write_text("class A:\n    changed = True\n")
    assert find("pair.py:A", folder=tmp_path).target.changed
    assert find("pair.py:A", folder=tmp_path).source_digest == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("./nowhere.py:A", "there is no file"),
        ("./mine.py:Mien", "has no class 'Mien'; did you mean 'Mine'? it has Mine"),
        ("./empty.py:A", "it has no class"),
        ("./bad.py:A", "cannot be imported: ZeroDivisionError: division by zero"),
        ("./exit.py:A", "cannot be imported: SystemExit: 0"),
        ("no_such_package_here.nets:G", "module 'no_such_package_here.nets' cannot be imported: ModuleNotFoundError"),
        ("json:Encoder", "json has no class 'Encoder'"),
        (".relative:A", "module '.relative' cannot be imported"),
        (":A", "module '' cannot be imported"),
        ("./mine.py:", "has no class ''"),
        ("nul\0.py:A", "there is no file"),
        ("x" * 400 + ".py:A", "there is no file"),
        ("folder.py:A", "there is no file"),
    ],
)
def test_a_use_without_a_class_is_refused(tmp_path, use, message):
    (tmp_path / "mine.py").write_text(source_of("Mine"))
    (tmp_path / "empty.py").write_text("import json\n")
    (tmp_path / "bad.py").write_text("1 / 0")
    (tmp_path / "exit.py").write_text("import sys; sys.exit(0)")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(PluginError) as error:
        find(use, folder=tmp_path)
    assert message in str(error.value)


def test_a_class_of_an_installed_module_has_its_distribution(site):
    distribution(site, "theirs", "", theirs_nets="class Net: pass")
    (site / "theirs-2.5.dist-info" / "top_level.txt").write_text("theirs_nets\n")
    found = find("theirs_nets:Net", "generator")
    assert (found.use, found.distribution, found.version) == ("theirs_nets:Net", "theirs", "2.5")
