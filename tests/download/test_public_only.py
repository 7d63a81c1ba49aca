"""What a list of a stranger may have fetched: public addresses, by schemes that are known to lead there."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataengine.download.cache import Cache
from dataengine.download.http import Downloader
from dataengine.download.public_only import ALLOW, is_public
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, ErrorCode
from tests.hub_server import Hub, running


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Downloader]:
    monkeypatch.delenv(ALLOW, raising=False)
    made = Downloader(Cache(tmp_path / "cache", 1 << 30))
    yield made
    made.close()


@pytest.fixture
def inner() -> Iterator[Hub]:
    """A service that only this machine sees, and that nobody has named."""
    with running(Hub()) as server:
        server.files["/secret.glb"] = b"credentials"
        yield server


def code_of(downloads: Downloader, url: str) -> ErrorCode | None:
    try:
        downloads.get(Wanted(url, from_list=True, seconds=20))
    except AssetFailure as e:
        assert "\n" not in e.message
        return e.code
    return None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_private_addresses_also_where_they_are_wrapped(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0x7f.1", "[::1]", "localhost."])
def test_a_list_does_not_reach_this_machine(inner: Hub, downloads: Downloader, host: str) -> None:
    port = inner.url.rpartition(":")[2]
    assert code_of(downloads, f"http://{host}:{port}/secret.glb") in (ErrorCode.UNSAFE_PATH, ErrorCode.FETCH_404)
    assert not inner.requests


def test_a_name_that_stands_for_a_private_address(
    inner: Hub, downloads: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that says something else when it is asked again: what was checked is what is connected to."""
    port = int(inner.url.rpartition(":")[2])
    answers = iter(["127.0.0.1"] * 9)

    def look_up(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert code_of(downloads, f"http://rebind.example:{port}/secret.glb") is ErrorCode.UNSAFE_PATH
    assert not inner.requests


def test_a_redirect_does_not_lead_there_either(hub: Hub, inner: Hub, downloads: Downloader) -> None:
    """The hub is named by the user (HF_ENDPOINT), and where it leads is not."""
    hub.redirects["/a.glb"] = f"{inner.url}/secret.glb"
    assert code_of(downloads, f"{hub.url}/a.glb") is ErrorCode.UNSAFE_PATH
    assert not inner.requests


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/x", "http://[bad/"])
def test_a_redirect_to_what_is_no_web_address_fails_at_once(hub: Hub, downloads: Downloader, target: str) -> None:
    hub.redirects["/a.glb"] = target
    assert code_of(downloads, f"{hub.url}/a.glb") is ErrorCode.FETCH_404
    assert hub.requests["/a.glb"] == 1


def test_a_redirect_in_a_circle_fails_at_once(hub: Hub, downloads: Downloader) -> None:
    hub.redirects["/a.glb"] = "/a.glb"
    assert code_of(downloads, f"{hub.url}/a.glb") is ErrorCode.FETCH_404
    assert hub.requests["/a.glb"] < 15


def test_what_the_user_allows(inner: Hub, downloads: Downloader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW, "1")
    assert code_of(downloads, f"{inner.url}/secret.glb") is None


def test_what_the_user_named_as_a_source_is_not_meant(inner: Hub, downloads: Downloader) -> None:
    assert downloads.get(Wanted(f"{inner.url}/secret.glb")).read_bytes() == b"credentials"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", ErrorCode.UNSAFE_PATH),
        ("local:///etc/passwd", ErrorCode.UNSAFE_PATH),
        ("simplecache::file:///etc/passwd", ErrorCode.UNSAFE_PATH),
        ("s3://bucket/x::file:///etc/passwd", ErrorCode.UNSAFE_PATH),
        ("foo://x", ErrorCode.UNSAFE_PATH),
        ("memory://x", ErrorCode.UNSAFE_PATH),
        ("ssh://host/x", ErrorCode.UNSAFE_PATH),
        ("http://[bad/", ErrorCode.MALFORMED),
        ("http://host:port/x", ErrorCode.MALFORMED),
        ("http:///x", ErrorCode.MALFORMED),
    ],
)
def test_addresses_that_no_list_may_name(downloads: Downloader, url: str, code: ErrorCode) -> None:
    assert code_of(downloads, url) is code
    assert not list(downloads.cache.root.rglob("*.part"))


def test_a_host_that_says_come_back_at_once_is_not_hammered(hub: Hub, downloads: Downloader) -> None:
    """5,787 requests in 7 seconds, and an overflow, were the answer to `Retry-After: 0`."""
    hub.files["/a.glb"] = b"x"
    hub.always["/a.glb"] = "429"
    hub.retry_after = "0"
    with pytest.raises(AssetFailure) as failure:
        downloads.get(Wanted(f"{hub.url}/a.glb", seconds=4))
    assert failure.value.code is ErrorCode.FETCH_TIMEOUT
    assert hub.requests["/a.glb"] < 12
