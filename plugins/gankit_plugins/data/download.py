"""Files fetched from the web: checked against a known digest, and there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gankit import GankitError

PIECE = 1 << 16
TIMEOUT = 30.0
"""Seconds without a byte."""


def fetch(name: str, mirrors: Sequence[str], md5: str, folder: Path) -> Path:
    """Downloads a file into a folder, which is made if need be, from the first mirror that gives it whole.

    Args:
        name: of the file, both at the mirrors and in the folder.
        mirrors: addresses (http or https) that `name` is appended to, tried in this order.
        md5: of the file, in hexadecimal.
        folder: where to.

    Raises:
        GankitError: no mirror gave the file, with what was wrong at each; or it cannot be written.
    """
    failures = []
    beside = folder / f".tmp-{name}-{os.getpid()}"
    try:
        for mirror in mirrors:
            address = mirror + name
            try:
                found = _download(address, beside)
            except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
                failures.append(f"{address}: {error}")
                continue
            if found != md5:
                failures.append(f"{address}: its md5 is {found}, not {md5}")
                continue
            os.replace(beside, folder / name)
            return folder / name
    except OSError as error:
        raise GankitError(f"{folder / name} could not be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
    raise GankitError("\n".join([f"{name} could not be downloaded", *failures]))


def _download(address: str, target: Path) -> str:
    """Writes what lies at an address to a file; returns its MD5."""
    # urllib would also open file:// and ftp://.
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError("only http and https are followed")
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file, _bar(address, total) as bar:
            while piece := response.read(PIECE):
                file.write(piece)
                digest.update(piece)
                bar.update(bar.task_ids[0], advance=len(piece))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
    if total is not None and size != total:
        raise ConnectionError(f"the connection broke off after {size} of {total} bytes")
    return digest.hexdigest()


def _bar(address: str, total: int | None) -> Progress:
    """A bar on a terminal, nothing elsewhere."""
    # Asked of the file itself: FORCE_COLOR makes rich take a pipe for a terminal.
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    progress.add_task(address, total=total)
    return progress
