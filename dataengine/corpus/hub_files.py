"""A corpus that lies in a dataset repository of the Hugging Face Hub; it can only be read.

huggingface_hub's file system answers from what it listed before, lists a file's whole folder to open the file, and
reads 5 MB ahead of what was asked for. Here nothing is remembered but that the repository is there, a file is one
request, and a range is a range.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfFileSystem, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.hf_file_system import HfFileSystemResolvedRepositoryPath
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, though not marked as exported
    build_hf_headers,
    hf_raise_for_status,
    http_backoff,
)

from dataengine.errors import UsageError

PROTOCOL = "hf://"
_UNKNOWN_TOKEN = "Invalid credentials in Authorization header"
_URL = re.compile(r"hf://(datasets/[\w.-]+/[\w.-]+(@[^@]+)?(/[^@]*)?)")


def root_of(url: str) -> str:
    """The path of `hf://datasets/OWNER/NAME[@REVISION][/PATH]`. Raises UsageError if it is something else."""
    match = _URL.fullmatch(url)
    if match is None:
        raise UsageError(f"{url}: a corpus on the Hub is hf://datasets/OWNER/NAME[@REVISION][/PATH]")
    return match[1]


class HubFiles(HfFileSystem):
    """Files of the Hub's repositories; `HF_ENDPOINT` and `HF_TOKEN` are those of huggingface_hub.

    Raises:
        UsageError: by whatever is asked, if there is no such repository or revision, or no right to read it.
    """

    cachable = False  # an instance of another corpus would remember that a repository was missing

    def ls(
        self, path: str, detail: bool = True, refresh: bool = True, revision: str | None = None, **more: Any
    ) -> list[str | dict[str, Any]]:
        with _in_plain_words(path):
            place = self._place(path, revision)
            tree = self._api.list_repo_tree(
                place.repo_id, place.path or None, revision=place.revision, repo_type=place.repo_type
            )
            found = [_entry(place.root, item) for item in tree]
        return [entry if detail else entry["name"] for entry in found]

    def find(self, path: str, *args: Any, **more: Any) -> Any:
        with _in_plain_words(path):
            return super().find(path, *args, **{**more, "refresh": True})

    def info(self, path: str, refresh: bool = True, revision: str | None = None, **more: Any) -> dict[str, Any]:
        with _in_plain_words(path):
            place = self._place(path, revision)
            if not place.path:
                return {"name": place.root, "size": 0, "type": "directory"}
            found = self._api.get_paths_info(
                place.repo_id,
                place.path,
                expand=more.get("expand_info", False),
                revision=place.revision,
                repo_type=place.repo_type,
            )
        if not found:
            raise FileNotFoundError(path)
        return _entry(place.root, found[0])

    def _place(self, path: str, revision: str | None = None) -> HfFileSystemResolvedRepositoryPath:
        place = self.resolve_path(path, revision=revision)
        if not isinstance(place, HfFileSystemResolvedRepositoryPath):
            raise UsageError(f"{PROTOCOL}{path}: buckets of the Hub are not read, repositories are")
        return place

    def exists(self, path: str, **more: Any) -> bool:
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
        """A file, or its bytes from `start` up to `end`; fewer where it ends before."""
        with _in_plain_words(path):
            place = self._place(path)
            url = hf_hub_url(
                place.repo_id, place.path, repo_type=place.repo_type, revision=place.revision, endpoint=self.endpoint
            )
            headers = {**build_hf_headers(token=self.token), "Accept-Encoding": "identity"}
            if start is not None or end is not None:
                headers["Range"] = f"bytes={start or 0}-{'' if end is None else end - 1}"
            # It waits as long as the Hub says where that limits the rate; the store tries more often.
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            response = http_backoff("GET", url, headers=headers, timeout=timeout, max_retries=1)
            if response.status_code == 416:
                return b""
            hf_raise_for_status(response)
        content: bytes = response.content
        return content if response.status_code == 206 else content[start:end]


def _entry(root: str, item: RepoFile | RepoFolder) -> dict[str, Any]:
    """As fsspec describes a file or folder; `blob_id` differs where the content does."""
    found = {"name": f"{root}/{item.path}", "last_commit": item.last_commit}
    if isinstance(item, RepoFile):
        return {**found, "type": "file", "size": item.size, "blob_id": item.blob_id}
    return {**found, "type": "directory", "size": 0}


@contextmanager
def _in_plain_words(path: str) -> Iterator[None]:
    """Tells what the Hub refuses; a file that is missing, and what may go well the next time, is the caller's."""
    repository, _, revision = "/".join(path.split("/")[1:3]).partition("@")
    try:
        yield
    except RemoteEntryNotFoundError as e:
        raise FileNotFoundError(path) from e
    except (FileNotFoundError, HfHubHTTPError) as e:
        cause = e.__cause__ if isinstance(e, FileNotFoundError) else e
        if not isinstance(cause, HfHubHTTPError):
            raise
        status = cause.response.status_code
        if isinstance(cause, GatedRepoError):
            words = "it is gated: ask for access on its page, and set HF_TOKEN to your token"
        elif status == 401 and cause.response.headers.get("X-Error-Message") == _UNKNOWN_TOKEN:
            words = "the Hub does not know this token: mend HF_TOKEN, or run `hf auth login`"
        elif isinstance(cause, RepositoryNotFoundError) or status == 401:  # it tells strangers no more than that
            words = (
                "the Hub has no such dataset, or it is private: set HF_TOKEN to the token of somebody who may read it"
            )
        elif isinstance(cause, RevisionNotFoundError):
            words = f"it has no branch, tag or commit {revision or 'main'}"
        elif status == 403:
            words = "this token has no right to read it"
        else:
            raise OSError(f"the Hub answered {status}") from e
        raise UsageError(f"{PROTOCOL}datasets/{repository}: {words}") from e
