"""`gankit demo`."""

import os
import signal
import socket
import sys
import urllib.request

import pytest
import torch

from gankit import InputError
from gankit.cli.demo import directions_of, loader
from gankit.sampling.directions import Directions, save_directions
from gankit.sampling.sampler import Sampler


@pytest.fixture
def run(toy_run):
    return toy_run("run", "train.iterations=2")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Restore the variables that the command sets for its process."""
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


def test_as_a_process_the_page_is_served_and_ctrl_c_ends_it(run, start_process, tmp_path):
    """Start the command with a proxy that must get no request, fetch the page, and press Ctrl-C."""
    pytest.importorskip("gradio")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        address = "http://{}:{}".format(*proxy.getsockname())
        environment = {f"{scheme}_proxy": address for scheme in ("http", "https", "all")} | {"TMPDIR": str(temporary)}
        arguments = ("demo", "run", "--trust", "--no-browser", "--port", str(port))
        process = start_process(*arguments, environment=environment)
        line = process.stdout.readline()
        assert line == f"run: http://127.0.0.1:{port}/ (Ctrl-C ends the page)\n", process.stderr.read()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert b"gankit" in answer.read()
        assert len(list(temporary.iterdir())) == 1
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "\n", "")
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert list(temporary.iterdir()) == []


def test_directions_beside_the_generator_are_used_if_they_belong_to_it(run, capsys):
    sampler = Sampler.load(run, "cpu", trust=True)
    size = sampler.spec.latent_size
    directions = Directions(torch.eye(size), torch.ones(size), torch.zeros(size), "z", "pca")
    assert directions_of(sampler, run, None) is None
    path = run / "directions.safetensors"
    save_directions(directions, path, sampler.generator)
    for given in (None, path):
        assert torch.equal(directions_of(sampler, run, given).vectors, directions.vectors)
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        next(sampler.generator.parameters()).add_(1)
    assert directions_of(sampler, run, None) is None
    assert capsys.readouterr().err.startswith(f"warning: {path}: the directions belong to a generator with other")
    with pytest.raises(InputError, match="other weights"):
        directions_of(sampler, run, path)


def test_a_port_in_use_is_one_sentence(gankit, run):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = gankit("demo", "run", "--trust", "--no-browser", "--port", port)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"error: --port {port}: is in use; choose another port\n"


def test_changed_settings_keep_the_weights_of_the_start(toy_run):
    run, other = toy_run("run", "train.iterations=2"), toy_run("other", "train.iterations=3")
    load = loader(run, "cpu", True, ())
    before = load(()).generator.state_dict()
    (other / "generator.safetensors").replace(run / "generator.safetensors")  # the run continues
    after = load(("latent.size=4",)).generator.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_missing_package_is_one_sentence(gankit, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    answer = gankit("demo", "run", "--trust")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "error: gankit demo: gradio is not installed, which shows the page; run `pip install 'gankit[demo]'`\n"
    )
