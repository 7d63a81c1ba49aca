"""`serve`: the pages of a corpus on this machine alone, made from the corpus as each is asked for."""

import re
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock

from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.report.contact import channels_of
from dataengine.report.site.columns import batches, encode, script
from dataengine.report.site.details import rows_script, shard_assets
from dataengine.report.site.pages import STATIC, page
from dataengine.report.site.pictures import decoded_turntable, thumbnails, turntable
from dataengine.report.site.run_folder import RunFolder
from dataengine.report.site.runs import runs_data, sheet_picture
from dataengine.report.site.tokens import DecodedTokens

HOST = "127.0.0.1"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def server(corpus: Corpus, port: int, *, tokens: bool = True, runs: Sequence[RunFolder] = ()) -> ThreadingHTTPServer:
    """A server that is bound, not yet serving. Port 0: any that is free.

    Args:
        tokens: decode them, among the pictures.
        runs: trainings to show, as they are when asked for.

    Raises:
        UsageError: if the port is taken.
    """
    corpus.check_models()
    live = _Live(corpus.url, tokens, runs)

    class Handler(_Handler):
        answer = staticmethod(live.answer)

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as e:
        raise UsageError(f"port {port} of {HOST} cannot be used ({e.strerror}): choose another with --port") from e


class _Live:
    """Answers from the corpus as it is. DuckDB and Parquet readers are used by one thread at a time."""

    def __init__(self, url: str, tokens: bool, runs: Sequence[RunFolder]) -> None:
        self.url = url
        self.tokens = tokens
        self.runs = runs
        self.decoded: DecodedTokens | None = None
        self.lock = Lock()
        self.corpus = Corpus.open(url)
        self.chunks: list[str] = []

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """(content type, content) of a path; None: there is nothing."""
        if path in ("/", "/index.html"):
            with self.lock:
                self.corpus = Corpus.open(self.url)  # as planned by now
                self.chunks = [
                    script("report.chunk", n, encode(batch)) for n, batch in enumerate(batches(Catalog(self.corpus)))
                ]
                self.decoded = DecodedTokens(self.corpus, self.decoded) if self.tokens else None
                left_out = self.decoded.left_out if self.decoded else []
                text = page(self.corpus, pictures=True, live=True, runs=bool(self.runs), left_out=left_out)
                return "text/html; charset=utf-8", text.encode()
        for pattern, make in self._ROUTES:
            if match := re.fullmatch(pattern, path):
                with self.lock:
                    return make(self, match)
        return None

    def _static(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        if match[1] not in STATIC:
            return None
        content = files("dataengine.report.site").joinpath("static", match[1]).read_bytes()
        return TYPES["." + match[1].rpartition(".")[2]], content

    def _chunk(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        n = int(match[1])
        return (TYPES[".js"], self.chunks[n].encode()) if n < len(self.chunks) else None

    def _rows(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        shard = int(match[1])
        return TYPES[".js"], rows_script(self.corpus, shard, pictures=True, decoded=self.decoded).encode()

    def _thumbnails(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        content = thumbnails(self.corpus, int(match[1]), int(match[2]))
        return None if content is None else ("image/webp", content)

    def _view(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        shard, uid, name, channel = match.groups()
        view_set = self.corpus.config.view_set(name)
        found = next((a for a in shard_assets(self.corpus, int(shard), view_set) if a.uid == uid), None)
        if found is None or found.status != "ok" or channel not in channels_of(view_set):
            return None
        return "image/webp", turntable(found, channel)

    def _decoded(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        shard, uid, name = int(match[1]), match[2], match[3]
        token_set = next((each for each in self.decoded.sets if each.name == name), None) if self.decoded else None
        if self.decoded is None or token_set is None:
            return None
        tokens = self.decoded.shard(token_set, shard)
        shown = shard_assets(self.corpus, shard, self.corpus.config.view_set(token_set.view_set))
        found = next((asset for asset in shown if asset.uid == uid), None)
        if found is None or found.status != "ok" or not tokens.has(uid):
            return None
        return "image/webp", decoded_turntable(found, tokens)

    def _runs(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        if not self.runs:
            return None
        try:
            data = runs_data(self.runs)
        except DataengineError as e:
            data = {"error": str(e)}
        return TYPES[".js"], script("report.runs", data).encode()

    def _sheet(self, match: re.Match[str]) -> tuple[str, bytes] | None:
        number, stage, step = int(match[1]), match[2], int(match[3])
        if number >= len(self.runs):
            return None
        evaluated = self.runs[number].evaluated() if stage == "evaluated" else []
        file = evaluated[step].sheet if step < len(evaluated) else self.runs[number].sheet(stage, step)
        return None if file is None else ("image/webp", sheet_picture(file))

    _ROUTES: tuple[tuple[str, Callable[["_Live", re.Match[str]], tuple[str, bytes] | None]], ...] = (
        (r"/static/([a-z.]+)", _static),
        (r"/data/(\d+)\.js", _chunk),
        (r"/rows/(\d+)\.js", _rows),
        (r"/thumbs/(\d+)-(\d+)\.webp", _thumbnails),
        (r"/views/(\d+)/([0-9a-f]{32})/([A-Za-z0-9._-]+)\.([a-z]+)\.webp", _view),
        (r"/tokens/(\d+)/([0-9a-f]{32})/([A-Za-z0-9._-]+)\.webp", _decoded),
        (r"/data/runs\.js", _runs),
        (r"/runs/(\d{1,4})/([a-z0-9]+)/(\d{1,12})\.webp", _sheet),
    )


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[str], tuple[str, bytes] | None]

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (HOST, "localhost"):  # a page elsewhere whose name was pointed at this machine
            self._send(403, "text/plain", b"only this machine may ask")
            return
        try:
            found = self.answer(self.path.partition("?")[0])
        except UsageError as e:
            self._send(404, "text/plain; charset=utf-8", str(e).encode())
            return
        except DataengineError as e:
            self._send(500, "text/plain; charset=utf-8", str(e).encode())
            return
        if found is None:
            self._send(404, "text/plain", b"there is nothing here")
        else:
            self._send(200, *found)

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a person looks at the pages."""
