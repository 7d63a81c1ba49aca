"""Addresses on the Hugging Face hub: where it is, what a revision stands for, and whom the token is for."""

import json
import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from huggingface_hub import constants, get_token

from dataengine.errors import AssetFailure, DataengineError, ErrorCode

if TYPE_CHECKING:
    from dataengine.assets.download import Downloader


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def file_url(repo: str, revision: str, name: str, kind: str = "datasets") -> str:
    """The address of a file in a repository at a revision."""
    return f"{endpoint()}/{kind}/{repo}/resolve/{quote(revision, safe='')}/{quote(name)}"


def revision_url(repo: str, revision: str, kind: str = "datasets") -> str:
    """Answers with JSON whose `sha` is the commit that a branch or tag stands for."""
    return f"{endpoint()}/api/{kind}/{repo}/revision/{quote(revision, safe='')}"


def info_url(repo: str, revision: str, kind: str = "datasets") -> str:
    """Answers with JSON whose `siblings` are the files, with sizes and hashes."""
    return f"{revision_url(repo, revision, kind)}?blobs=true"


def token_for(url: str) -> str | None:
    """The user's token, for the hub's own host and no other. It is read from the environment, never kept."""
    return get_token() if urlsplit(url).netloc == urlsplit(endpoint()).netloc else None


def revision_of(repo: str, downloads: "Downloader", branch: str = "main", kind: str = "datasets") -> str:
    """The commit that a branch stands for now: what a plan pins.

    Raises:
        DataengineError: if the hub cannot be asked, or wants a token or accepted terms first.
    """
    try:
        answer = json.loads(downloads.read(revision_url(repo, branch, kind)))
        return str(answer["sha"])
    except AssetFailure as e:
        raise DataengineError(gate_message(repo, e, kind)) from e
    except (ValueError, KeyError, TypeError) as e:
        raise DataengineError(f"{endpoint()} gave no revision for {repo}: {e}") from e


def gate_message(repo: str, failure: AssetFailure, kind: str = "datasets") -> str:
    """One line that tells a gate from a wrong token from a hub that is away."""
    page = f"{endpoint()}/{kind}/{repo}"
    if failure.code is not ErrorCode.FETCH_DENIED:
        return f"{repo}: {failure.message}"
    if token_for(page) is None:
        return f"{repo} is gated: accept its terms at {page}, then set HF_TOKEN to a token of your account"
    return f"{repo} refuses the token: it is wrong or expired, or its account has not accepted the terms at {page}"


class Pins:
    """The revisions that a source reads its repositories at: those an earlier plan pinned, or the newest.

    Args:
        text: as in corpus.yaml: `owner/name@commit`, separated by commas.
    """

    def __init__(self, text: str | None, downloads: "Downloader") -> None:
        self._known = dict(part.split("@", 1) for part in (text or "").split(",") if "@" in part)
        self._downloads = downloads

    def __getitem__(self, repo: str) -> str:
        """The commit of a repository. Raises DataengineError if the hub must be asked and cannot be."""
        if repo not in self._known:
            self._known[repo] = revision_of(repo, self._downloads)
        return self._known[repo]

    @property
    def text(self) -> str:
        """What to pin."""
        return ",".join(f"{repo}@{commit}" for repo, commit in sorted(self._known.items()))
