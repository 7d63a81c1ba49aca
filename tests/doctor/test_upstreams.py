"""First contact, against a stand-in for every place."""

import csv
import gzip
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator

import pytest
import torch
from aiohttp import web
from click.testing import CliRunner
from safetensors.torch import save

from dataengine.cli import build
from dataengine.doctor import upstreams
from dataengine.download.probe import RemoteFile, probe
from dataengine.sources import gso, hssd, objaverse, url_lists
from dataengine.sources.captions import CAP3D, CAP3D_FILES
from dataengine.tokenize.checkpoint import EMA, PUBLISHED
from dataengine.tokenize.model import build as build_tokenizer
from tests import asset_files as files
from tests.hub_server import Hub, running


class World(Hub):
    """Every host at once: the hub and the plain ones, and models listed a page."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/fuel":
            return web.json_response([{"name": "Shoe", "version": 1}])
        return await super().handle(request)

    def siblings(self, path: str) -> list[dict[str, object]]:
        home = path.removeprefix("/api").partition("/revision/")[0] + "/resolve/main/"
        return [{"rfilename": name.removeprefix(home)} for name in self.files if name.startswith(home)]


def weights(name: str) -> bytes:
    """A checkpoint with the published names, and next to nothing in it."""
    with torch.device("meta"):
        names = list(build_tokenizer(name).state_dict())
    if PUBLISHED[name].endswith(".safetensors"):
        return save({n: torch.zeros(1) for n in names})
    buffer = io.BytesIO()
    ema = {EMA + n.replace(".", ""): torch.zeros(1) for n in names}
    torch.save({"state_dict": {**{n: torch.zeros(1) for n in names}, **ema}}, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, bytes]:
    return {name: weights(name) for name in PUBLISHED}


@pytest.fixture
def world(checkpoints: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    hub = World()
    at = {repo: f"/datasets/{repo}/resolve/main" for repo in (objaverse.REPO, url_lists.XL, hssd.MODELS, CAP3D)}
    name = "a" * 32
    paths = json.dumps({name: f"glbs/000-000/{name}.glb"}).encode()
    published = {
        f"{at[objaverse.REPO]}/{objaverse.PATHS}": gzip.compress(paths),
        f"{at[objaverse.REPO]}/glbs/000-000/{name}.glb": files.glb(),
        f"{at[objaverse.REPO]}/metadata/000-000.json.gz": gzip.compress(b"{}"),
        **{f"{at[url_lists.XL]}/{part}/{part}.parquet": b"PAR1.." for part in url_lists.XL_PARTS},
        f"{at[hssd.MODELS]}/objects/a/{name}.glb": files.glb(),
        f"/datasets/{hssd.HABITAT}/resolve/main/semantics/objects.csv": b"id,name\nx,y\n",
        **{f"{at[CAP3D]}/{file}": f"{name},A chair\n".encode() for file in CAP3D_FILES.values()},
        "/allenai/objaverse-xl/main/README.md": b"# XL",
        "/fuel/Shoe/1/Shoe.zip": b"PK\x03\x04",
        f"/abo/{upstreams.abo.INDEX}": gzip.compress(b"3dmodel_id,path,faces\nB0,A/B0.glb,1\n"),
        "/abo/3dmodels/original/A/B0.glb": files.glb(),
    }
    for tokenizer, url in PUBLISHED.items():
        owner, repository, file = url.removeprefix("hf://").split("/", 2)
        published[f"/{owner}/{repository}/resolve/main/{file}"] = checkpoints[tokenizer]
    hub.files.update(published)
    with running(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "secret")
        monkeypatch.setattr(gso, "FUEL", f"{hub.url}/fuel")
        monkeypatch.setattr(url_lists, "ABO", f"{hub.url}/abo")
        monkeypatch.setattr(upstreams, "GITHUB_FILE", f"{hub.url}/allenai/objaverse-xl/main/README.md")
        yield hub


def states() -> dict[str, str]:
    return {a.name: a.state for a in upstreams.look_online()}


def test_everything_is_where_it_was_published(world: World) -> None:
    answers = list(upstreams.look_online())
    assert not [a for a in answers if a.state != "ok"]
    assert {"objaverse", "objaverse-xl:github", "hssd", "gso", "abo", "captions cap3d", "tokenizer show-o"} <= {
        a.name for a in answers
    }
    result = CliRunner().invoke(build(), ["doctor", "--online"])
    assert result.exit_code == 0, result.output
    assert sum(world.sent.values()) < 4 * sum(map(len, world.files.values()))


def test_each_trouble_has_its_name(world: World) -> None:
    world.gated["/datasets/hssd/"] = "another"
    hub = f"/datasets/{CAP3D}/resolve/main"
    del world.files[f"{hub}/{CAP3D_FILES['abo']}"]
    world.files[f"{hub}/{CAP3D_FILES['full']}"] = b"<html>moved</html>"
    world.files[f"/datasets/{url_lists.XL}/resolve/main/github/github.parquet"] = b"version https://git-lfs"
    world.faults["/fuel/Shoe/1/Shoe.zip"] = ["500"]
    found = states()
    troubled = {n: s for n, s in found.items() if s != "ok"}
    assert troubled == {
        "hssd": "gated",
        "captions cap3d": "moved",
        "captions cap3d:abo": "moved",
        "objaverse-xl:github": "moved",
        "gso": "unreachable",
    }
    result = CliRunner().invoke(build(), ["doctor", "--online"])
    assert result.exit_code == 1
    assert "accept its terms on" in result.output and "error: 3 of" in result.output + result.stderr
    assert "secret" not in result.output


def test_a_gate_alone_is_no_failure(world: World) -> None:
    world.gated["/datasets/hssd/"] = "another"
    assert CliRunner().invoke(build(), ["doctor", "--online"]).exit_code == 0


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((gso, "FUEL"), (url_lists, "ABO"), (upstreams, "GITHUB_FILE")):
        monkeypatch.setattr(module, name, "http://127.0.0.1:9/x")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert set(states().values()) == {"unreachable"}


@pytest.mark.parametrize("name", ["show-o", "open-magvit2-256"])
def test_another_checkpoint_under_the_same_name(world: World, name: str) -> None:
    owner, repository, file = PUBLISHED[name].removeprefix("hf://").split("/", 2)
    path = f"/{owner}/{repository}/resolve/main/{file}"
    whole = world.files[path]
    other = save({"other": torch.zeros(1)}) if name == "show-o" else b"PK not a zip"
    for content in (other, whole[:-1], b"", b"\0" * 4096):
        world.files[path] = content
        assert states()[f"tokenizer {name}"] == "moved", len(content)


def test_a_remote_file_reads_like_a_local_one(world: World) -> None:
    rows = io.StringIO()
    csv.writer(rows).writerows([[n, n * n] for n in range(30_000)])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        z.writestr("a.csv", rows.getvalue())
        z.writestr("b.txt", "end")
    world.files["/x.zip"] = packed.getvalue()
    with zipfile.ZipFile(RemoteFile(f"{world.url}/x.zip")) as z:  # type: ignore[arg-type]
        assert z.read("b.txt") == b"end"
        assert world.sent["/x.zip"] < len(packed.getvalue())
        assert z.read("a.csv").decode() == rows.getvalue()


def test_bytes_that_arrive_in_pieces_are_all_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(
                    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 8\r\nContent-Range: bytes 0-7/9\r\n\r\n"
                )
                for piece in (b"half", b"half"):
                    time.sleep(0.2)
                    connection.sendall(piece)

        thread = threading.Thread(target=answer)
        thread.start()
        found = probe(f"http://127.0.0.1:{server.getsockname()[1]}/a", 0, 8)
        thread.join()
    assert (found.data, found.size) == (b"halfhalf", 9)
