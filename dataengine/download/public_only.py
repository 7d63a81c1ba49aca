"""Addresses that strangers may name: a list's URLs and the redirects from them lead to public hosts only.

Else a list could have a machine of a cluster fetch what only that machine may see: a service on loopback, the metadata
of a cloud instance with its credentials, a neighbour. The address that is checked is the one that is connected to,
whatever a second question to the name server would have said. `--allow-private` (DATAENGINE_ALLOW_PRIVATE=1) lifts it;
what the user named, such as HF_ENDPOINT, a proxy or a bucket that is a source, is not meant.
"""

import ipaddress
import os
import re
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from dataengine.download.hub import endpoint
from dataengine.errors import AssetFailure, ErrorCode

SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss", "hf")
ALLOW = "DATAENGINE_ALLOW_PRIVATE"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


def check_listed(url: str) -> None:
    """Raises AssetFailure(UNSAFE_PATH) for a URL that a list may not name, MALFORMED for what is none."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    name = scheme[1].lower() if scheme else ""
    chained = name not in _PORTS and "::" in url  # fsspec's chains lead anywhere: s3://a::file://b
    if name not in SCHEMES or chained:
        raise AssetFailure(ErrorCode.UNSAFE_PATH, f"{url} is no address that a list may name ({', '.join(SCHEMES)})")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as e:
        raise AssetFailure(ErrorCode.MALFORMED, f"{url} is no address: {e}") from e
    if not host:
        raise AssetFailure(ErrorCode.MALFORMED, f"{url} is no address: it names no host")
    if name in _PORTS and not allows_private():
        _check_host(host, parts.port or _PORTS[name])


def allows_private() -> bool:
    """Whether lists may name any host."""
    return os.environ.get(ALLOW, "") not in ("", "0")


class PublicConnector(aiohttp.TCPConnector):
    """Connects to public addresses, and to what the user named."""

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
        # aiohttp connects to what this returns, and to nothing else; its public resolvers never see an IP address.
        found = await super()._resolve_host(host, port, traces)
        if allows_private() or (host.lower(), port) in _named_by_user():
            return found
        public = [address for address in found if is_public(address["host"])]
        if not public:
            raise _refused(host)
        return public


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the Internet at large, also where one is wrapped in another."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
    return ip.is_global and not ip.is_multicast


def _check_host(host: str, port: int) -> None:
    """What can be known of a host by its name alone; behind a proxy, nothing more can."""
    if (host, port) in _named_by_user():
        return
    try:
        public = is_public(host)
    except ValueError:  # a name
        public = host.rstrip(".") != "localhost" and not host.rstrip(".").endswith(".localhost")
    if not public:
        raise _refused(host)


def _refused(host: str) -> AssetFailure:
    message = f"{host} is on a private network, where lists may not lead (--allow-private lets them)"
    return AssetFailure(ErrorCode.UNSAFE_PATH, message)


def _named_by_user() -> set[tuple[str, int]]:
    found = set()
    for url in (endpoint(), *urllib.request.getproxies().values()):
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.hostname:
            found.add((parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)))
    return found
