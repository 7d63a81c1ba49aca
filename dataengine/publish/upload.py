"""A published folder on the Hub: only what changed is uploaded, in one commit."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from dataengine.errors import DataengineError, UsageError

OURS = re.compile(
    r"(data|tokens)/.+\.parquet|README\.md|CREDITS\.md|LICENSES\.csv|croissant\.json|\w+\.png|\.dataengine\.json"
)


@dataclass(frozen=True)
class Changes:
    """Paths in the repository: added or replaced, and removed since they are no longer part of the dataset."""

    added: list[str]
    removed: list[str]


def repository_of(target: str) -> str:
    """`OWNER/NAME` of `hf://datasets/OWNER/NAME`. Raises UsageError if it is something else."""
    match = re.fullmatch(r"hf://datasets/([\w.-]+/[\w.-]+)/?", target)
    if match is None:
        raise UsageError(f"{target}: publish to hf://datasets/OWNER/NAME, or to a folder")
    return match[1]


def upload(folder: Path, repository: str, *, dry_run: bool = False) -> Changes:
    """Makes the dataset's repository equal to the folder; files that are not of this kind stay (.gitattributes).

    Args:
        folder: published.
        repository: `OWNER/NAME`; made if there is none.
        dry_run: only says what would be done; a repository that is missing counts as empty.

    Raises:
        UsageError: without a token, or without the right to write there.
        DataengineError: if the Hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError

    api = HfApi()
    try:
        if not dry_run:
            api.create_repo(repository, repo_type="dataset", exist_ok=True)
        try:
            there = _tree(api, repository)
        except RepositoryNotFoundError:
            there = {}
        here = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        added = [name for name, path in here.items() if there.get(name) not in _hashes(path)]
        removed = sorted(name for name in there.keys() - here.keys() if OURS.fullmatch(name))
        if (added or removed) and not dry_run:
            operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
                *(CommitOperationAdd(name, here[name]) for name in added),
                *(CommitOperationDelete(name) for name in removed),
            ]
            api.create_commit(repository, operations, repo_type="dataset", commit_message="Publish the dataset")
    except LocalTokenNotFoundError as e:
        raise UsageError("no token for the Hub: set HF_TOKEN, or run `hf auth login`") from e
    except HfHubHTTPError as e:
        status = e.response.status_code if e.response is not None else None
        if status == 401:
            raise UsageError(f"the Hub does not know the token (HF_TOKEN), or there is none, for {repository}") from e
        if status == 403:
            raise UsageError(f"this token has no right to write to {repository}") from e
        raise DataengineError(f"the Hub answered {status or 'nothing'}: {' '.join(str(e).split())[:200]}") from e
    except OSError as e:
        raise DataengineError(f"the Hub cannot be reached: {e}") from e
    return Changes(added, removed)


def _tree(api: object, repository: str) -> dict[str, str]:
    """Path → SHA-256 of a large file's content, git's blob id of a small one."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    assert isinstance(api, HfApi)
    entries = api.list_repo_tree(repository, repo_type="dataset", recursive=True)
    return {e.path: e.lfs.sha256 if e.lfs else e.blob_id for e in entries if isinstance(e, RepoFile)}


def _hashes(path: Path) -> set[str]:
    """A file's SHA-256 and its git blob id, SHA-1 of `blob <size>\\0` and the content."""
    large = hashlib.sha256()
    small = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            large.update(block)
            small.update(block)
    return {large.hexdigest(), small.hexdigest()}
