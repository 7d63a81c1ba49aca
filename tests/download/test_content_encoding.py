"""Objects that were uploaded gzipped: S3 and GCS answer with Content-Encoding whatever is asked (RFC 9110, 8.4)."""

import gzip
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dataengine.download.cache import Cache
from dataengine.download.http import Downloader
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, ErrorCode

CONTENT = bytes(range(256)) * 4000
ANSWERS = {
    "/gzip": ("gzip", gzip.compress(CONTENT)),
    "/members": ("gzip", gzip.compress(CONTENT[:5000]) + gzip.compress(CONTENT[5000:])),
    "/deflate": ("deflate", zlib.compress(CONTENT)),
    "/identity": ("identity", CONTENT),
    "/br": ("br", CONTENT),
    "/lies": ("gzip", CONTENT),
    "/cut": ("gzip", gzip.compress(CONTENT)[:-9]),
    "/bomb": ("gzip", gzip.compress(bytes(1 << 26))),
}


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        encoding, body = ANSWERS[self.path.partition("?")[0]]
        self.send_response(200)
        self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloader]:
    downloader = Downloader(Cache(tmp_path / "cache"))
    yield downloader
    downloader.close()


@pytest.mark.parametrize("path", ["/gzip", "/members", "/deflate", "/identity"])
def test_the_file_is_what_comes_out(url: str, downloads: Downloader, path: str) -> None:
    assert downloads.get(Wanted(url + path, ".glb")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/br", ErrorCode.UNSUPPORTED, "encoded as br"),
        ("/lies", ErrorCode.SHA_MISMATCH, "content encoding is broken"),
        ("/cut", ErrorCode.SHA_MISMATCH, "cut short"),
        ("/bomb", ErrorCode.TOO_LARGE, "over 2000000 bytes"),
    ],
)
def test_what_cannot_be_undone_is_typed(
    url: str, downloads: Downloader, path: str, code: ErrorCode, words: str
) -> None:
    with pytest.raises(AssetFailure, match=words) as failure:
        downloads.get(Wanted(url + path, ".glb", max_bytes=2_000_000, seconds=30))
    assert failure.value.code == code
