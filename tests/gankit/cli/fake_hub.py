"""Stand-in for the package huggingface_hub: repositories in memory, with the functions and errors that gankit uses."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace


@dataclass
class CommitOperationAdd:
    path_in_repo: str
    path_or_fileobj: bytes


def error_classes():
    names = {
        "HfHubHTTPError": OSError,
        "HFValidationError": ValueError,
        "EntryNotFoundError": Exception,
        "OfflineModeIsEnabled": ConnectionError,
    }
    module = ModuleType("huggingface_hub.errors")
    for name, base in names.items():
        setattr(module, name, type(name, (base,), {}))
    http, entry = module.HfHubHTTPError, module.EntryNotFoundError
    module.RepositoryNotFoundError = type("RepositoryNotFoundError", (http,), {})
    module.GatedRepoError = type("GatedRepoError", (module.RepositoryNotFoundError,), {})
    module.RevisionNotFoundError = type("RevisionNotFoundError", (http,), {})
    module.RemoteEntryNotFoundError = type("RemoteEntryNotFoundError", (http, entry), {})
    module.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (FileNotFoundError, entry), {})
    return module


def install_fake_hub(monkeypatch):
    """Replace huggingface_hub. Return the module; its `repositories` maps each name to its commits, files by name."""
    hub, folder = ModuleType("huggingface_hub"), Path(tempfile.mkdtemp())
    hub.repositories, hub.private, hub.calls, hub.errors = {}, set(), [], error_classes()
    hub.CommitOperationAdd = CommitOperationAdd

    class HfApi:
        def __init__(self, library_name=None):
            assert library_name == "gankit"

        def create_repo(self, repo_id, *, private=None, exist_ok=False):
            assert exist_ok
            hub.calls.append(("create_repo", repo_id, private))
            if repo_id not in hub.repositories:
                hub.repositories[repo_id] = []
                hub.private |= {repo_id} if private else set()

        def repo_info(self, repo_id):
            return SimpleNamespace(private=repo_id in hub.private)

        def file_exists(self, repo_id, filename):
            return any(filename in commit for commit in hub.repositories[repo_id])

        def create_commit(self, repo_id, operations, *, commit_message):
            hub.calls.append(("create_commit", repo_id, commit_message))
            before = hub.repositories[repo_id][-1] if hub.repositories[repo_id] else {}
            hub.repositories[repo_id].append(before | {o.path_in_repo: o.path_or_fileobj for o in operations})

        def hf_hub_download(self, repo_id, filename, *, revision=None):
            hub.calls.append(("hf_hub_download", repo_id, filename, revision))
            if repo_id not in hub.repositories:
                raise hub.errors.RepositoryNotFoundError("404")
            commits = hub.repositories[repo_id]
            if revision is not None and not revision.removeprefix("v").isdecimal():
                raise hub.errors.RevisionNotFoundError("404")
            files = commits[-1] if revision is None else commits[int(revision.removeprefix("v"))]
            if filename not in files:
                raise hub.errors.RemoteEntryNotFoundError("404")
            path = folder / f"{len(hub.calls)}-{filename}"
            path.write_bytes(files[filename])
            return str(path)

    hub.HfApi = HfApi
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub.errors)
    return hub
