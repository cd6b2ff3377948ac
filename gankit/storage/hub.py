"""Generators on the Hugging Face Hub, through the optional package huggingface_hub, with addresses `hf://USER/NAME`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from gankit.errors import GankitError, InputError

GENERATOR, CARD = "generator.safetensors", "README.md"

SCHEME = re.compile(r"hf:/{1,2}")
"""Start of an address. `Path` replaces the two slashes by one."""

PAGE = "https://huggingface.co/"


class Address(NamedTuple):
    """Repository on the hub, such as `ann/shapes`, and its branch, tag or commit, or None for the newest commit."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_address(path: str | Path) -> bool:
    """Return True if a path is an address on the hub, such as `hf://USER/NAME`."""
    return SCHEME.match(str(path)) is not None


def parse_address(path: str | Path) -> Address:
    """Return the repository and the revision of an address `hf://USER/NAME` or `hf://USER/NAME@REVISION`.

    Raises:
        InputError: the address has another form.
    """
    repository, at, revision = SCHEME.sub("", str(path)).partition("@")
    if not is_address(path) or not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or (at and not revision):
        raise InputError(f"{path}: is not an address; write hf://USER/NAME, or hf://USER/NAME@REVISION to download")
    return Address(repository, revision or None)


def download_generator(address: Address) -> Path:
    """Download the generator file of a repository, unless it is in the local cache, and return its path.

    Only the generator file is downloaded. huggingface_hub shows a progress bar.

    Raises:
        InputError, GankitError: the file cannot be downloaded.
    """
    client = _library().HfApi(library_name="gankit")
    with hub_errors(address):
        path = client.hf_hub_download(address.repository, GENERATOR, revision=address.revision)
    return Path(path)


def upload(
    address: Address, files: Mapping[str, bytes], message: str, private: bool, replace_card: bool
) -> tuple[str, ...]:
    """Upload files to a repository in one commit, and return their names. If the repository is missing, create it.

    Args:
        address: repository, without a revision.
        files: content of each file, by name.
        message: message of the commit.
        private: True to create a private repository. The visibility of an existing repository does not change, so a
            public one is refused.
        replace_card: True to replace an existing model card. If False, an existing model card is kept.

    Raises:
        InputError, GankitError: the files cannot be uploaded, or `private` is true and the repository is public.
    """
    library = _library()
    client, addition = library.HfApi(library_name="gankit"), library.CommitOperationAdd
    with hub_errors(address):
        client.create_repo(address.repository, private=private or None, exist_ok=True)
        public = private and not client.repo_info(address.repository).private
    if public:
        raise InputError(f"{address}: is public; make it private on {PAGE}{address.repository}, or omit --private")
    with hub_errors(address):
        if not replace_card and client.file_exists(address.repository, CARD):
            files = {name: data for name, data in files.items() if name != CARD}
        operations = [addition(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
        client.create_commit(address.repository, operations, commit_message=message)
    return tuple(files)


@contextmanager
def hub_errors(address: Address) -> Iterator[None]:
    """Convert an error of huggingface_hub in the `with` block to a sentence about the address."""
    from huggingface_hub import errors

    login = "log in with `hf auth login`"
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise GankitError(f"{address}: the hub cannot be reached, and {GENERATOR} is not in the cache") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{address}: there is no such revision; choose a branch, a tag or a commit") from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"{address}: needs permission; request it on {PAGE}{address.repository}, and {login}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{address}: there is no such repository; if it is private, {login}") from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"{address}: has no file {GENERATOR}; choose a repository of `gankit push`") from error
    except errors.HFValidationError as error:
        raise InputError(f"{address}: is not an address: {_short(error)}") from error
    except errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) in (401, 403):
            raise InputError(f"{address}: no permission; {login}, with a token that may write") from error
        raise GankitError(f"{address}: the hub reports an error: {_short(error)}") from error
    except Exception as error:  # errors of the network, from a library that depends on the version of huggingface_hub
        raise GankitError(f"{address}: the hub cannot be reached: {_short(error)}") from error


def _library() -> ModuleType:
    try:
        return import_module("huggingface_hub")
    except ImportError:
        raise InputError(
            "hf://: huggingface_hub is not installed, which reaches the hub; run `pip install 'gankit[hub]'`"
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
