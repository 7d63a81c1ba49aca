"""How long `plan` takes on a list of Objaverse's real size, with a filter over the annotations.

    python benchmarks/objaverse.py [--rows 800000] [--thumbnails]

Writes object-paths.json.gz, 160 annotation files and the LVIS list in their published shape, serves them on loopback
as the hub would, and plans twice in processes of their own: with an empty cache, and again. Prints seconds and peak
memory of both. --thumbnails adds what planning does not read: the annotations are five times longer then, as published.
"""

import argparse
import gzip
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dataengine.sources.objaverse import PATHS

COMMIT = "c0ffee" * 6 + "c0ff"
WHERE = "licence in ('cc-by-4.0', 'cc0-1.0') and face_count < 500000"
SERVER = """
import hashlib, pathlib, sys
from aiohttp import web
root = pathlib.Path(sys.argv[1])
async def send(request):
    if request.path.startswith("/api/"):
        return web.json_response({"sha": sys.argv[3]})
    file = root / request.path.partition("/resolve/" + sys.argv[3] + "/")[2]
    return web.FileResponse(file) if file.is_file() else web.Response(status=404)
app = web.Application()
app.router.add_get("/{path:.*}", send)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
"""


def annotation(uid: str, n: int, draw: random.Random, thumbnails: bool) -> dict[str, Any]:
    """One object's record with the published keys."""
    tags = [{"name": t, "slug": t, "uri": f"https://api.sketchfab.com/v3/tags/{t}"} for t in draw.sample(TAGS, n % 7)]
    note = {
        "uri": f"https://api.sketchfab.com/v3/models/{uid}",
        "uid": uid,
        "name": f"Model number {n}",
        "staffpickedAt": "2021-01-01T00:00:00" if n % 500 == 0 else None,
        "viewCount": n % 9999,
        "likeCount": n % 77,
        "animationCount": n % 3,
        "viewerUrl": f"https://sketchfab.com/3d-models/{uid}",
        "embedUrl": f"https://sketchfab.com/models/{uid}/embed",
        "commentCount": n % 5,
        "isDownloadable": True,
        "publishedAt": "2020-02-02T02:02:02.123456",
        "tags": tags,
        "categories": [{"name": "architecture", "uid": "x" * 32, "uri": "https://api.sketchfab.com/v3/categories/x"}],
        "user": {"uid": "f" * 32, "username": f"user{n % 90000}", "displayName": f"User {n % 90000}", "account": "pro"},
        "description": "A model that somebody made and described in a sentence or two. " * (n % 4),
        "faceCount": draw.randrange(2_000_000),
        "vertexCount": draw.randrange(1_000_000),
        "license": ("by", "by", "by", "by-nc", "by-nc-sa", "by-sa", "cc0")[n % 7],
        "archives": {"glb": {"size": n * 7, "textureCount": n % 4, "type": "glb", "faceCount": n, "vertexCount": n}},
    }
    if thumbnails:
        url = f"https://media.sketchfab.com/models/{uid}/thumbnails/{'0' * 32}/{'1' * 32}.jpeg"
        images = [{"uid": "a" * 32, "size": 12345, "width": w, "url": url, "height": w} for w in (50, 100, 200, 720)]
        note |= {"thumbnails": {"images": images * 2}, "avatar": {"images": images}}
    return note


TAGS = [f"tag-{i}" for i in range(5000)]


def publish(root: Path, rows: int, thumbnails: bool) -> None:
    draw = random.Random(0)
    uids = [f"{draw.getrandbits(128):032x}" for _ in range(rows)]
    folder = [f"000-{n % 160:03d}" for n in range(rows)]
    paths = {uid: f"glbs/{f}/{uid}.glb" for uid, f in zip(uids, folder, strict=True)}
    (root / PATHS).write_bytes(gzip.compress(json.dumps(paths).encode(), 6))
    (root / "lvis-annotations.json.gz").write_bytes(
        gzip.compress(json.dumps({f"category_{c}": uids[c:46_000:1156] for c in range(1156)}).encode())
    )
    (root / "metadata").mkdir()
    for number in range(160):
        notes = {uids[n]: annotation(uids[n], n, draw, thumbnails) for n in range(number, rows, 160)}
        (root / f"metadata/000-{number:03d}.json.gz").write_bytes(gzip.compress(json.dumps(notes).encode(), 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=800_000)
    parser.add_argument("--thumbnails", action="store_true")
    parser.add_argument("--where", default=WHERE)
    parser.add_argument("--published", type=Path, help="A folder that keeps the published files between runs.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = options.published or folder / "published"
        if not root.exists():
            root.mkdir(parents=True)
            publish(root, options.rows, options.thumbnails)
        size = sum(f.stat().st_size for f in root.rglob("*.gz"))
        print(
            f"published: {options.rows} rows, {size / 1e6:.0f} MB, {PATHS} {(root / PATHS).stat().st_size / 1e6:.1f} MB"
        )
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(root), str(port), COMMIT])
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            settings = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "XDG_CACHE_HOME": str(folder / "cache")}
            for name in ("empty cache", "again"):
                start = time.perf_counter()
                command = ["plan", str(folder / "corpus"), "--source", "objaverse", "--where", options.where]
                process = subprocess.Popen(
                    [sys.executable, "-m", "dataengine", *command],
                    env={**os.environ, **settings},
                    stdout=subprocess.DEVNULL,
                )
                _, status, usage = os.wait4(process.pid, 0)
                assert status == 0, f"plan ended with {status}"
                print(
                    f"{name}: {time.perf_counter() - start:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} CPU s, "
                    f"{usage.ru_maxrss / 1e6:.2f} GB"
                )
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
