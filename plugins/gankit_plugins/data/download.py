"""Downloads that are checked against a known digest and written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from rich.progress import DownloadColumn

from gankit import GankitError
from gankit_plugins.data.progress_bar import progress_bar

CHUNK = 1 << 16
TIMEOUT = 30.0
"""Seconds without data after which a download fails."""


def fetch(name: str, mirrors: Sequence[str], md5: str, folder: Path) -> Path:
    """Download a file into a folder from the first mirror that works; return its path.

    Args:
        name: the name of the file at the mirrors and in the folder.
        mirrors: addresses (http or https) to which `name` is appended, tried in this order.
        md5: the digest of the file, in hexadecimal.
        folder: the target folder, created if missing.

    Raises:
        GankitError: all mirrors failed, with the reason for each; or the file cannot be written.
    """
    failures = []
    temporary = folder / f".tmp-{name}-{os.getpid()}"
    try:
        for mirror in mirrors:
            address = mirror + name
            try:
                digest = _download(address, temporary)
            except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
                failures.append(f"{address}: {error}")
                continue
            if digest != md5:
                failures.append(f"{address}: its md5 is {digest}, but must be {md5}")
                continue
            os.replace(temporary, folder / name)
            return folder / name
    except OSError as error:
        raise GankitError(f"{folder / name} could not be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    raise GankitError("\n".join([f"{name} could not be downloaded", *failures]))


def _download(address: str, target: Path) -> str:
    """Download an address to a file; return its MD5."""
    # urllib also opens file:// and ftp:// addresses.
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError("only http and https are supported")
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file, progress_bar(address, total, DownloadColumn()) as bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                bar.update(bar.task_ids[0], advance=len(chunk))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
    if total is not None and size != total:
        raise ConnectionError(f"the connection was closed after {size} of {total} bytes")
    return digest.hexdigest()
