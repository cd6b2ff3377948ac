"""HTTP server of `gankit watch`: two resources, requests from this machine only, and pages that follow the run."""

import http.client
import json
import socket
import struct
import threading
from contextlib import closing

import pytest

from gankit.report.page_server import PageServer, is_allowed_host
from gankit.report.watched_run import WatchedRun
from gankit.storage.run_dir import RunDir


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "recipe.toml").write_text('name = "toy"\n[train]\niterations = 1000\n')
    return RunDir(path)


@pytest.fixture
def server(directory):
    with PageServer("127.0.0.1", 0, WatchedRun(directory.path)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def request_(server):
    def call(path, method="GET", **headers):
        with closing(http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()

    return call


def test_the_page_follows_the_run(server, request_, directory):
    status, headers, text = request_("/")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "text/html; charset=utf-8", "no-store")
    version = json.loads(request_("/status")[2])["version"]
    assert f'data-version="{version}"' in text
    assert "No images yet" in text
    assert server.page() is server.page()
    numbers = {"iteration": 20, "seconds": 1.0, "images_per_second": 9.0, "learning_rate": {"generator": 0.1}}
    directory.log(numbers | {"loss": {"generator": {"fool": 0.7}}})
    directory.log({"iteration": 20, "warning": "D's loss is <near> 0"})
    newer = json.loads(request_("/status")[2])
    assert newer["version"] != version
    assert newer["activity"].startswith("cut short after iteration 20")
    _, _, text = request_("/")
    assert f'data-version="{newer["version"]}"' in text
    assert "D&#39;s loss is &lt;near&gt; 0" in text
    assert "<h3>generator</h3>" in text


def test_no_other_resource_and_no_other_method(request_):
    for path in ("/recipe.toml", "/../run/recipe.toml", "/samples/", "/?x"):
        assert request_(path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert request_("/", method)[0] == 501
    assert request_("/", Host="rebound.example:80")[0] == 403
    assert request_("/status", Host="rebound.example")[0] == 403
    assert request_("/", Host="localhost:9000")[0] == 200  # a port that ssh forwards


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_connection_that_is_reset_is_no_error(directory, sent, capfd):
    with PageServer("127.0.0.1", 0, WatchedRun(directory.path)) as server:
        server.daemon_threads = False  # so that `server_close` waits for the handler
        with socket.create_connection(server.server_address) as connection:
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.handle_request()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("header", "host", "allowed"),
    [
        ("127.0.0.1:8787", "127.0.0.1", True),
        ("LOCALHOST", "127.0.0.1", True),
        ("[::1]:8787", "127.0.0.1", True),
        ("192.168.0.7:8787", "0.0.0.0", True),
        ("gpu-box:8787", "GPU-box", True),
        ("gpu-box:8787", "0.0.0.0", False),
        ("box.lab.example:8787", "0.0.0.0", True),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("evil.example@localhost", "127.0.0.1", True),  # no browser sends it; the host of the address is localhost
        ("[::1", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_hosts(header, host, allowed):
    assert is_allowed_host(header, (host, "box.lab.example")) == allowed
