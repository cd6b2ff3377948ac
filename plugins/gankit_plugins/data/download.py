"""Function that downloads a file and checks its MD5 digest. An incomplete download leaves no file."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from rich.progress import DownloadColumn

from gankit import GankitError, progress_bar, write_bytes

CHUNK = 1 << 16
TIMEOUT = 30.0
"""Timeout in seconds. A download fails if no new data arrives within this time."""


def fetch(name: str, mirrors: Sequence[str], md5: str, folder: Path) -> Path:
    """Download a file into a folder, from the first mirror that has an undamaged copy. Return the path of the file.

    Args:
        name: name of the file on the mirrors and in the folder.
        mirrors: base URLs (http or https), to which `name` is appended. The mirrors are tried in this order.
        md5: MD5 digest of the file, in hexadecimal.
        folder: target folder. It is created if it does not exist.

    Raises:
        GankitError: all mirrors failed (the error gives the reason for each), or the file cannot be written.
    """
    failures = []
    for address in (mirror + name for mirror in mirrors):
        try:
            data = _download(address)
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{address}: {error}")
            continue
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if digest == md5:
            write_bytes(folder / name, data, shared=True)
            return folder / name
        failures.append(f"{address}: its md5 is {digest}, but must be {md5}")
    raise GankitError("\n".join([f"{name} could not be downloaded", *failures]))


def _download(address: str) -> bytes:
    # Accept only http and https, because urllib would also open URLs such as `file://`.
    if not address.lower().startswith(("http://", "https://")):
        raise ValueError("only http and https are supported")
    data = bytearray()
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        total = response.length
        with progress_bar(address, total, DownloadColumn()) as bar:
            while chunk := response.read(CHUNK):
                data += chunk
                bar.update(bar.task_ids[0], completed=len(data))
    if total is not None and len(data) != total:
        raise ConnectionError(f"the connection was closed after {len(data)} of {total} bytes")
    return bytes(data)
