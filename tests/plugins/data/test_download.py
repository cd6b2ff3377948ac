"""Downloads from a server in this process."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gankit import GankitError
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
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requested = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("cases", [["missing", "truncated", "wrong", "good", "unsized"], ["unsized"]])
def test_the_first_working_mirror_is_used(tmp_path, server, cases):
    folder = tmp_path / "new" / "folder"
    path = fetch("x.gz", [f"http://127.0.0.1:{server.server_port}/{case}/" for case in cases], MD5, folder)
    assert path == folder / "x.gz"
    assert path.read_bytes() == CONTENT
    assert server.requested == [f"/{case}/x.gz" for case in cases[:4]]
    assert list(folder.iterdir()) == [path]


def test_the_error_lists_all_mirrors_and_no_file_is_written(tmp_path, server):
    web = f"http://127.0.0.1:{server.server_port}"
    mirrors = [f"{web}/wrong/", f"{web}/truncated/", f"{web}/missing/", "http://127.0.0.1:1/"]
    with pytest.raises(GankitError) as error:
        fetch("x.gz", mirrors, MD5, tmp_path / "target")
    first, *failures, refused = str(error.value).splitlines()
    assert first == "x.gz could not be downloaded"
    assert failures == [
        f"{web}/wrong/x.gz: its md5 is {hashlib.md5(CONTENT[::-1]).hexdigest()}, but must be {MD5}",
        f"{web}/truncated/x.gz: the connection was closed after 1000 of 256000 bytes",
        f"{web}/missing/x.gz: HTTP Error 404: Not Found",
    ]
    assert refused.startswith("http://127.0.0.1:1/x.gz: ")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("scheme", ["file://", "ftp://", "data://", "", "http://["])
def test_only_valid_http_and_https_addresses_are_opened(tmp_path, scheme):
    (tmp_path / "x.gz").write_bytes(CONTENT)
    message = "Invalid IPv6 URL" if scheme == "http://[" else "only http and https are supported"
    with pytest.raises(GankitError, match=message):
        fetch("x.gz", [f"{scheme}{tmp_path}/"], MD5, tmp_path / "target")
    assert not (tmp_path / "target").exists()
