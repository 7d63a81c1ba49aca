"""Which samples a run sees, and where their bytes are: 32 bytes a sample, whatever the corpus says of them.

The catalog's view `samples` answers the `where` clause; what is kept is the shard, where the sample begins, the
caption's length and the uid. A sample's members follow each other, as in every WebDataset tar, and all samples of a
selection have arrays of one shape: so cameras, tokens and caption lie at the same places behind each beginning, and one
read gets all.
"""

import io
from dataclasses import dataclass
from functools import cached_property
from tarfile import BLOCKSIZE
from typing import Any

import numpy as np
import numpy.typing as npt

from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.duck import quote
from dataengine.manifests.query import sql_errors
from dataengine.storage import Store
from dataengine.training.files import changed, digest, vanished

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """What the arrays of one kind look like in every sample: parsed once, compared bytewise afterwards.

    Attributes:
        header: the .npy header's bytes.
        shape: of one sample.
        dtype: of its elements.
    """

    header: bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the whole member, header included."""
        return len(self.header) + int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True)
class Index:
    """The selected samples in shard order. Row i of every array is sample i.

    Attributes:
        store: the corpus.
        tars: names of the shards in the store; each carries the start of its content's SHA-256.
        counts: samples of each shard.
        shard: position in `tars`.
        offset: first byte of the sample's first member in the tar.
        caption_size: bytes of the caption; 0 = none.
        uids: (N, 16) uint8.
        tokens_at, cameras_at, caption_at: first byte of the member behind `offset`.
        tokens_layout: (views, rows, columns), unsigned.
        cameras_layout: (views, numbers) float32.
    """

    store: Store
    tars: list[str]
    counts: Int64
    shard: Int32
    offset: Int64
    caption_size: Int32
    uids: npt.NDArray[np.uint8]
    tokens_at: int
    cameras_at: int
    caption_at: int
    tokens_layout: Layout
    cameras_layout: Layout

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def nbytes(self) -> int:
        """Bytes the index holds in memory."""
        arrays = (self.shard, self.offset, self.caption_size, self.uids)
        return sum(a.nbytes for a in arrays)

    def firsts(self) -> Int64:
        """The first row of each shard."""
        firsts: Int64 = np.cumsum(self.counts) - self.counts
        return firsts

    def ends(self) -> Int64:
        """Up to where each shard is read: the arrays of its last sample, and its caption's blocks."""
        arrays = max(self.tokens_at + self.tokens_layout.nbytes, self.cameras_at + self.cameras_layout.nbytes)
        captions = self.caption_at - -self.caption_size.clip(1) // BLOCKSIZE * BLOCKSIZE
        ends: Int64 = np.maximum.reduceat(self.offset + captions.clip(arrays), self.firsts())
        return ends

    def uid(self, row: int) -> str:
        return str(self.uids[row].tobytes().hex())


def build_index(catalog: Catalog, tokenizer: str, *, split: str | None = None, where: str | None = None) -> Index:
    """Asks the catalog for samples.

    Args:
        catalog: of the corpus.
        tokenizer: whose tokens to read.
        split: train, val or test; None takes all. Splits follow the asset's group, so no model is on two sides.
        where: SQL condition over the columns of `samples`.

    Raises:
        UsageError: if nothing is selected, the condition is wrong, or the samples differ in shape.
        DataengineError: if the manifest or the first shard cannot be read.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"no split {split!r} (choose from {', '.join(SPLITS)})")
    condition = f"tokenizer = {quote(tokenizer)}" + (f" AND split = '{split}'" if split else "")
    chosen = f"FROM samples WHERE {condition}" + (f" AND (\n{where}\n)" if where else "")
    store, (tars, columns) = catalog.corpus.store, _columns(catalog, chosen)
    if not tars:
        raise UsageError(_why_empty(catalog, tokenizer, split, where))
    shapes = np.stack([columns.pop(name) for name in ("num_views", "rows", "columns")], 1)
    if (shapes != shapes[0]).any():
        found = zip(*np.unique(shapes, axis=0, return_counts=True), strict=True)
        kinds = ", ".join(f"{n} of {views} views of {rows}×{cols}" for (views, rows, cols), n in found)
        raise UsageError(f"the selected samples differ in shape ({kinds}): choose one kind with --where")
    captioned = columns["caption_size"] > 0
    tokens, cameras = columns.pop("tokens_offset"), columns.pop("cameras_offset")
    offset = np.minimum(tokens, cameras)
    places = {
        "tokens_at": _only(tokens - offset, "place of the tokens"),
        "cameras_at": _only(cameras - offset, "place of the cameras"),
        "caption_at": _only((columns.pop("caption_offset") - offset)[captioned], "place of the caption"),
    }
    if (offset % BLOCKSIZE).any():
        raise DataengineError(f"{store.url} names samples that do not begin at a tar's blocks; tokenize it again")
    sizes = [_only(columns.pop(name), name) for name in ("tokens_size", "cameras_size")]
    numbers = columns.pop("shard")
    shard = np.searchsorted(np.array(list(tars)), numbers).astype(np.int32)
    first = tars[int(numbers[0])], int(offset[0])
    return Index(
        store=store,
        tars=list(tars.values()),
        counts=np.bincount(shard, minlength=len(tars)).astype(np.int64),
        shard=shard,
        offset=offset,
        caption_size=columns["caption_size"],
        uids=columns["uid"],
        **places,
        tokens_layout=_layout(store, first[0], first[1] + places["tokens_at"], sizes[0]),
        cameras_layout=_layout(store, first[0], first[1] + places["cameras_at"], sizes[1]),
    )


def _rows(catalog: Catalog, query: str) -> list[tuple[Any, ...]]:
    with sql_errors():
        return list(catalog.sql(query).fetchall())


def _columns(catalog: Catalog, chosen: str) -> tuple[dict[int, str], dict[str, npt.NDArray[Any]]]:
    """The tars by shard, in order, and the arrays, sorted by (shard, row).

    One pass over the catalog, streamed, and sorted here: DuckDB's own sort takes longer and more memory.
    """
    query = f"""SELECT shard::INT AS shard, "row"::INT AS "row", tokens_offset, tokens_size::INT AS tokens_size,
        cameras_offset, cameras_size::INT AS cameras_size,
        coalesce(caption_offset, 0) AS caption_offset, coalesce(caption_size, 0)::INT AS caption_size,
        num_views::SMALLINT AS num_views, grid[1]::SMALLINT AS "rows", grid[2]::SMALLINT AS "columns",
        unhex(uid) AS uid, tar {chosen}"""
    tars: dict[int, str] = {}
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    with sql_errors():
        for batch in catalog.sql(query).to_arrow_reader(1 << 17):
            numbers = batch.column("shard").to_numpy()
            changes = np.flatnonzero(np.diff(numbers, prepend=-1))  # few: rows come by shard, as good as always
            shards, firsts = np.unique(numbers[changes], return_index=True)
            firsts = changes[firsts]
            tars.update((int(s), batch.column("tar")[int(i)].as_py()) for s, i in zip(shards, firsts, strict=True))
            for name, column in zip(batch.schema.names[:-1], batch.columns[:-1], strict=True):
                values = _uid_bytes(column) if name == "uid" else column.to_numpy(zero_copy_only=False)
                parts.setdefault(name, []).append(values.copy())
    if not parts:
        return {}, {}
    joined = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    rank = np.argsort(joined["shard"].astype(np.int64) << 32 | joined.pop("row"))
    return dict(sorted(tars.items())), {name: joined.pop(name)[rank] for name in list(joined)}


def _only(values: Int64, what: str) -> int:
    """The one value that all samples have; 0 where there are none."""
    if not len(values):
        return 0
    if values.min() != values.max():
        raise UsageError(f"the selected samples differ in {what} ({values.min()} to {values.max()}): narrow --where")
    return int(values[0])


def _uid_bytes(column: Any) -> npt.NDArray[np.uint8]:
    """A binary column whose values are 16 bytes each, as (N, 16)."""
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(-1, 16)


def _layout(store: Store, tar: str, offset: int, size: int) -> Layout:
    """Parses the header of the first sample's array."""
    try:
        content = store.read_range(tar, offset, size)
    except FileNotFoundError as e:
        raise vanished(store, tar) from e
    except DataengineError as e:
        raise DataengineError(f"{e}; the manifest names the shard with SHA-256 {digest(tar)}…") from e
    member = io.BytesIO(content)
    try:
        major, _ = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
        read: Any = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(member)
    except ValueError as e:
        raise changed(store, tar) from e
    layout = Layout(member.getvalue()[: member.tell()], shape, dtype)
    if fortran or layout.nbytes != size or dtype.hasobject:
        raise changed(store, tar)
    return layout


def _why_empty(catalog: Catalog, tokenizer: str, split: str | None, where: str | None) -> str:
    known = [name for (name,) in _rows(catalog, "SELECT DISTINCT tokenizer FROM samples ORDER BY ALL")]
    if not known:
        return "the corpus has no tokens yet: run `dataengine tokenize` first"
    if tokenizer not in known:
        return f"the corpus has no tokens of {tokenizer!r} (it has {', '.join(known)})"
    of_split = f" of split {split!r}" if split else ""
    return f"no sample{of_split} matches --where {where!r}" if where else f"no sample{of_split} in the corpus"
