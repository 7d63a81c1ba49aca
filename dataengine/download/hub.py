"""Addresses on the Hugging Face hub: where it is, and whom the token is for."""

import os
from urllib.parse import quote, urlsplit

from huggingface_hub import constants, get_token


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
