"""First contact with every place that assets, captions and weights come from: for machines with internet.

Each is asked for little: the start of its lists, the head of one small asset, the directory of a checkpoint. Nothing
is kept. What is found is told apart as ok, gated (accept terms, set a token), moved (the host is there, the file is
not, or is another) and unreachable.
"""

import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import duckdb

from dataengine.download.hub import endpoint, file_url, info_url
from dataengine.download.probe import BLOCK, Probe, Refused, RemoteFile, probe
from dataengine.report.checks import Check
from dataengine.sources import abo, gso, hssd, objaverse, url_lists
from dataengine.sources.captions import CAP3D, CAP3D_FILES
from dataengine.tokenize.checkpoint import PUBLISHED, missing_names

GITHUB_FILE = f"{url_lists.GITHUB_RAW}/allenai/objaverse-xl/main/README.md"
_AT_ONCE = 8


def look_online() -> Iterator[Check]:
    """Asks every place, several at once; the answers come in a fixed order."""
    places: dict[str, Callable[[], str]] = {
        "objaverse": _objaverse,
        **{f"objaverse-xl:{part}": lambda part=part: _xl(part) for part in url_lists.XL_PARTS},  # type: ignore[misc]
        "objaverse-xl: files on GitHub": lambda: _bytes(probe(GITHUB_FILE, 0, 16)),
        "hssd": _hssd,
        "gso": _gso,
        "abo": _abo,
        **{f"captions {name}": lambda name=name: _captions(name) for name in _CAPTIONS},  # type: ignore[misc]
        **{f"tokenizer {name}": lambda name=name: _tokenizer(name) for name in PUBLISHED},  # type: ignore[misc]
    }
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(_ask, places, places.values())


_CAPTIONS = {f"cap3d:{name}" if name else "cap3d": file for name, file in CAP3D_FILES.items() if name != "full"}


def _ask(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", look())
    except Refused as e:
        return Check(name, e.state, str(e), _remedy(name, e))
    except (ValueError, KeyError, LookupError, TypeError, struct.error, zlib.error, zipfile.BadZipFile) as e:
        said = " ".join(str(e).split()) or type(e).__name__
        return Check(name, "moved", f"something else lies there: {said}", _MOVED)
    except duckdb.Error as e:
        return Check(name, "moved", f"something else lies there: {str(e).splitlines()[0]}", _MOVED)


_MOVED = "its publisher may have moved it: plan with an earlier corpus.yaml's revision, or report it"


def _remedy(name: str, refused: Refused) -> str:
    if refused.state == "gated":
        page = f"{endpoint()}/datasets/{hssd.MODELS} and {endpoint()}/datasets/{hssd.HABITAT}"
        where = f"on {page}" if name == "hssd" else "on its page"
        return f"accept its terms {where}, then set HF_TOKEN to a token of that account (a wrong one is refused too)"
    if refused.state == "moved":
        return _MOVED
    return "check the connection, HTTPS_PROXY, and HF_ENDPOINT if a mirror is used; try again later"


def _bytes(found: Probe) -> str:
    return "answers" if found.size is None else f"{found.size:,} bytes"


def _magic(url: str, magic: bytes) -> Probe:
    found = probe(url, 0, 64)
    if not found.data.startswith(magic):
        raise Refused("moved", f"{url}: starts with {found.data[:16]!r}, not {magic!r}")
    return found


def _objaverse() -> str:
    paths = probe(file_url(objaverse.REPO, "main", objaverse.PATHS))
    text = zlib.decompressobj(wbits=31).decompress(paths.data, BLOCK).decode()
    first = re.search(r'"(glbs/[^"]+\.glb)"', text)
    if first is None:
        raise Refused("moved", f"{objaverse.PATHS} names no glbs/…")
    asset = _magic(file_url(objaverse.REPO, "main", first[1]), b"glTF")
    note = first[1].split("/")[1]
    _magic(file_url(objaverse.REPO, "main", f"metadata/{note}.json.gz"), b"\x1f\x8b")
    return f"list of {_bytes(paths)}, annotations, and {first[1]} of {_bytes(asset)}"


def _xl(part: str) -> str:
    return f"list of {_bytes(_magic(file_url(url_lists.XL, 'main', f'{part}/{part}.parquet'), b'PAR1'))}"


def _hssd() -> str:
    files = json.loads(_whole(info_url(hssd.MODELS, "main")))["siblings"]
    names = sorted(f["rfilename"] for f in files if f["rfilename"].startswith("objects/"))
    first = next(n for n in (*names, "") if n.endswith(".glb") or not n)
    asset = _magic(file_url(hssd.MODELS, "main", first), b"glTF")
    head = probe(file_url(hssd.HABITAT, "main", "semantics/objects.csv"), 0, 1024).data
    if b"id" not in head.splitlines()[0].split(b","):
        raise Refused("moved", "semantics/objects.csv has no column id")
    return f"{len(names):,} files, and {first} of {_bytes(asset)}"


def _gso() -> str:
    model = json.loads(_whole(f"{gso.FUEL}?page=1"))[0]
    return f"list, and {model['name']} of {_bytes(_magic(gso.archive_url(model), b'PK'))}"


def _abo() -> str:
    index = zlib.decompressobj(wbits=31).decompress(probe(f"{url_lists.ABO}/{abo.INDEX}").data, BLOCK).decode()
    header, first = (line.split(",") for line in index.splitlines()[:2])
    path = dict(zip(header, first, strict=False))["path"]
    return f"list, and {path} of {_bytes(_magic(f'{url_lists.ABO}/3dmodels/original/{path}', b'glTF'))}"


def _captions(name: str) -> str:
    found = probe(file_url(CAP3D, "main", _CAPTIONS[name]), 0, 4096)
    first = found.data.decode("utf-8", "replace").splitlines()[0]
    if not re.match(r'^"?[0-9A-Za-z-]{10,64}"?,', first):
        raise Refused("moved", f"{_CAPTIONS[name]} starts with {first[:60]!r}, not with a key and a caption")
    return f"{_CAPTIONS[name]} of {_bytes(found)}"


def _tokenizer(name: str) -> str:
    owner, repository, file = PUBLISHED[name].removeprefix("hf://").split("/", 2)
    remote = RemoteFile(f"{endpoint()}/{owner}/{repository}/resolve/main/{file}")
    head = remote.read(9)
    names = _safetensors_names(remote, head) if head[8:] == b"{" else _torch_names(remote)
    if missing := missing_names(name, names):
        raise Refused("moved", f"{file} lacks {missing[0]!r}, which {name} has" + f" (of {len(missing)} names)")
    return f"{file} of {remote.size:,} bytes, every tensor of {name} in it"


def _safetensors_names(remote: RemoteFile, head: bytes) -> set[str]:
    (size,) = struct.unpack("<Q", head[:8])
    if size > 64 << 20:
        raise ValueError(f"a header of {size} bytes")
    remote.seek(8)
    header = json.loads(remote.read(size))
    tensors = {k: v for k, v in header.items() if k != "__metadata__"}
    end = 8 + size + max(int(v["data_offsets"][1]) for v in tensors.values())
    if end != remote.size:
        raise ValueError(f"its header tells of {end} bytes, and it has {remote.size}")
    return set(tensors)


def _torch_names(remote: RemoteFile) -> set[str]:
    """Every text in the pickle of a torch checkpoint. The pickle is read as opcodes, and not run."""
    with zipfile.ZipFile(remote) as archive:
        pickle = next(n for n in (*archive.namelist(), "") if n.endswith("data.pkl") or not n)
        return {a for _, a, _ in pickletools.genops(archive.read(pickle)) if isinstance(a, str)}


def _whole(url: str) -> bytes:
    """A list that is sent as one answer."""
    return probe(url, 0, 256 << 20).data
