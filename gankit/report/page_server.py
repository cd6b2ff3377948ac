"""HTTP server for the page of one run, which updates itself in the browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from urllib.parse import urlsplit

from gankit.report.page import page
from gankit.report.watched_run import WatchedRun

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""Headers of all responses. They keep pages of other sites from reading or embedding the page."""


class PageServer(ThreadingHTTPServer):
    """Server with two resources: the page at `/`, and the state of the run as JSON at `/status`.

    Args:
        host: host name or IP address to listen on.
        port: port to listen on; 0 for a free port.
        run: run that the page shows.

    Raises:
        OSError: the port is not free, or the host is not an address of this machine.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, run: WatchedRun) -> None:
        super().__init__((host, port), _Handler)
        self.run = run
        self.own_names = (host, self.server_name)
        self._lock = threading.Lock()
        self._page, self._version = "", ""

    def status(self) -> dict[str, str]:
        """Return the version of the run's files and text about the progress of the run."""
        with self._lock:
            activity = self.run.refresh()
            return {"version": self.run.version, "activity": activity}

    def page(self) -> str:
        """Return the page of the run. The page is written again only if the files of the run have changed."""
        with self._lock:
            self.run.refresh()
            if self._version != self.run.version:
                self._page, self._version = page([self.run.record], self.run.version), self.run.version
            return self._page


def is_allowed_host(header: str, own_names: Collection[str]) -> bool:
    """Return True if the header `Host` of a request is an IP address, `localhost`, or one of the server's own names.

    Other names are refused. Otherwise, a site in the browser could set the address of its own domain to that of this
    server, and then read the page (DNS rebinding). The port is not checked, because `ssh -L` may change it.
    """
    try:
        name = urlsplit(f"//{header}").hostname or ""
        if name == "localhost" or name in {own.lower() for own in own_names}:
            return True
        ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """Handler of GET requests. All other methods are refused."""

    server: PageServer
    timeout = 10  # seconds after which an idle connection is closed

    def handle(self) -> None:
        """Handle a request. The browser may close the connection, for example because the user leaves the page."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Send the page, the status, or an error."""
        if not is_allowed_host(self.headers.get("Host", ""), self.server.own_names):
            self._send(
                HTTPStatus.FORBIDDEN,
                "text/plain",
                "use localhost, the full host name or an IP address\n",
            )
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html", self.server.page())
        elif self.path == "/status":
            self._send(HTTPStatus.OK, "application/json", json.dumps(self.server.status()))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "the page is at /\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Do not log requests."""
