"""How much of a plain aiohttp loop's throughput is left when every file is locked, hashed, checked and kept.

    python benchmarks/fetch.py [--files 2000] [--size 50000] [--latency 0.05]

A server process on loopback sends small files; both clients run 16 requests at once against it, in turns, each time
into an empty folder. Prints files per second of both and the ratio of the medians.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from dataengine.download.cache import Cache
from dataengine.download.host import PER_HOST
from dataengine.download.http import Downloader
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure

SERVER = """
import asyncio, sys
from aiohttp import web
latency = float(sys.argv[3])
body = bytes(range(256)) * (int(sys.argv[1]) // 256)
async def send(request):
    await asyncio.sleep(latency)
    return web.Response(body=request.path.encode() + body, headers={"ETag": '"x"'})
app = web.Application()
app.router.add_get("/{name}", send)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
"""


async def bare(urls: list[str], folder: Path) -> None:
    """What people write first: a session, a semaphore, a file each."""
    todo = iter(enumerate(urls))
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for i, url in todo:
                async with session.get(url) as response:
                    (folder / f"{i}.glb").write_bytes(await response.read())

        await asyncio.gather(*(work() for _ in range(PER_HOST)))


def ours(urls: list[str], folder: Path) -> None:
    downloads = Downloader(Cache(folder, 1 << 40))
    failures = []

    def done(_: int, outcome: Path | AssetFailure) -> None:
        if isinstance(outcome, AssetFailure):
            failures.append(outcome)

    downloads.get_many([Wanted(u, ".glb") for u in urls], done)
    downloads.close()
    assert not failures, failures[0]


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=50_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer, as over a network")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    port = 18_765
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(options.size), str(port), str(options.latency)])
    urls = [f"http://127.0.0.1:{port}/{i}" for i in range(options.files)]
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    try:
        wait_for(port)
        for _ in range(options.rounds):
            for name in seconds:
                with tempfile.TemporaryDirectory() as folder:
                    start = time.perf_counter()
                    if name == "bare":
                        asyncio.run(bare(urls, Path(folder)))
                    else:
                        ours(urls, Path(folder))
                    seconds[name].append(time.perf_counter() - start)
    finally:
        server.terminate()
        server.wait()
    rate = {name: options.files / statistics.median(s) for name, s in seconds.items()}
    print(
        json.dumps(
            {
                "files": options.files,
                "bytes_per_file": options.size,
                "latency": options.latency,
                "files_per_second": rate,
            },
            indent=2,
        )
    )
    print(f"ours / bare aiohttp loop: {rate['ours'] / rate['bare']:.2f}")


if __name__ == "__main__":
    main()
