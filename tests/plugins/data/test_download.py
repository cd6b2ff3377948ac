"""Downloads from a server in this process."""

import errno
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gankit import GankitError
from gankit_plugins.data import download
from gankit_plugins.data.download import fetch

CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        case = self.path.split("/")[1]
        if case == "missing":
            self.send_error(404)
            return
        if case == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        body = CONTENT[::-1] if case == "wrong" else CONTENT
        self.send_response(200)
        if case != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if case == "truncated" else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requested = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mirror(server):
    return lambda case: f"http://127.0.0.1:{server.server_port}/{case}/"


@pytest.mark.parametrize("case", ["good", "unsized"])
def test_a_file_is_downloaded(tmp_path, mirror, case):
    path = fetch("x.gz", [mirror(case)], MD5, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "x.gz"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("wrong", f"/wrong/x.gz: its md5 is {hashlib.md5(CONTENT[::-1]).hexdigest()}, but must be {MD5}"),
        ("truncated", "/truncated/x.gz: the connection was closed after 1000 of 256000 bytes"),
        ("missing", "/missing/x.gz: HTTP Error 404"),
        ("elsewhere", "/elsewhere/x.gz: .*Redirection to url .file:///etc/passwd. is not allowed"),
    ],
)
def test_a_failed_download_leaves_no_file(tmp_path, mirror, case, message):
    with pytest.raises(GankitError, match=rf"x\.gz could not be downloaded\n.*{message}"):
        fetch("x.gz", [mirror(case)], MD5, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mirrors_are_tried_in_order(tmp_path, mirror, server):
    cases = ["missing", "truncated", "wrong", "good", "unsized"]
    path = fetch("x.gz", [mirror(case) for case in cases], MD5, tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requested == [f"/{case}/x.gz" for case in cases[:4]]
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_lists_all_mirrors(tmp_path, mirror):
    with pytest.raises(GankitError) as error:
        fetch("x.gz", [mirror("missing"), mirror("wrong"), "http://127.0.0.1:1/"], MD5, tmp_path)
    assert [line.partition(": ")[0].split("/")[-2] for line in str(error.value).splitlines()[1:]] == [
        "missing",
        "wrong",
        "127.0.0.1:1",
    ]


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_other_schemes_are_refused(tmp_path, scheme):
    (tmp_path / "x.gz").write_bytes(CONTENT)
    with pytest.raises(GankitError, match="only http and https are supported"):
        fetch("x.gz", [f"{scheme}://{tmp_path}/"], MD5, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_failure_keeps_the_existing_file(tmp_path, mirror):
    (tmp_path / "x.gz").write_bytes(b"before")
    with pytest.raises(GankitError):
        fetch("x.gz", [mirror("wrong")], MD5, tmp_path)
    assert (tmp_path / "x.gz").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_leaves_no_file(tmp_path, mirror, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(download.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("x.gz", [mirror("good")], MD5, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error(tmp_path, mirror, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(GankitError, match=r"x\.gz could not be written: No space left"):
        fetch("x.gz", [mirror("good")], MD5, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path, mirror):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(GankitError, match="could not be written"):
        fetch("x.gz", [mirror("good")], MD5, tmp_path / "taken")
