"""The revision at which a repository on the hub is read: what a plan pins."""

import json

from dataengine.download.http import Downloader
from dataengine.download.hub import endpoint, revision_url, token_for
from dataengine.errors import AssetFailure, DataengineError, ErrorCode


def revision_of(repo: str, downloads: Downloader, branch: str = "main", kind: str = "datasets") -> str:
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

    def __init__(self, text: str | None, downloads: Downloader) -> None:
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
