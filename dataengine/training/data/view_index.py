"""Which assets a run sees, and where the members of their views are: 16 bytes a member, whatever the corpus says of it.

The catalog's view `assets` answers the `where` clause. Rows are read in pieces of a bounded size; what is kept of each
is numbers, and the start of each member's SHA-256, by which a reader knows that it has what was written.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from tarfile import BLOCKSIZE
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.guard import sql_errors
from dataengine.render.views import view_stem
from dataengine.training.data.index import SPLITS, Int32, Int64

_PIECE = 20_000  # rows of the catalog at a time: with a hundred members each, a few hundred megabytes


@dataclass(frozen=True)
class ViewIndex:
    """The selected assets in shard order. Row i of every array is asset i, column j is member j.

    Attributes:
        store: the corpus.
        view_set: whose views they are.
        num_views: of each asset, read or not.
        resolution: pixels a side, as rendered.
        views: which of the views have members here, ascending.
        suffixes: of the members of a view, such as `rgba.png`.
        tars: names of the shards in the store.
        counts: assets of each shard.
        shard: position in `tars`.
        block: (N, members) of the tar, where the content begins; a block has 512 bytes.
        size: (N, members) bytes of the content.
        digest: (N, members) the first 8 bytes of its SHA-256.
        text: uid, and captions and licences if they were asked for.
    """

    store: Store
    view_set: str
    num_views: int
    resolution: int
    views: tuple[int, ...]
    suffixes: tuple[str, ...]
    tars: list[str]
    counts: Int64
    shard: Int32
    block: Int32
    size: Int32
    digest: npt.NDArray[np.uint64]
    text: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def names(self) -> list[str]:
        """The members, `cameras.json` first."""
        return member_names(self.views, self.suffixes, self.num_views)

    @property
    def nbytes(self) -> int:
        """Bytes the index holds in memory."""
        arrays = (self.counts, self.shard, self.block, self.size, self.digest)
        return sum(a.nbytes for a in arrays) + sum(int(text.nbytes) for text in self.text.values())


def member_names(views: Iterable[int], suffixes: Sequence[str], num_views: int) -> list[str]:
    """cameras.json, then the members of each view."""
    stems = [view_stem(v, num_views) for v in views]
    return ["cameras.json", *(f"{stem}.{suffix}" for stem in stems for suffix in suffixes)]


def build_view_index(
    catalog: Catalog,
    suffixes: Sequence[str],
    *,
    view_set: str | None = None,
    views: Sequence[int] | None = None,
    text: Sequence[str] = ("uid",),
    split: str | None = None,
    where: str | None = None,
) -> ViewIndex:
    """Asks the catalog for assets with views.

    Args:
        catalog: of the corpus.
        suffixes: of the members that are wanted of each view.
        view_set: whose views; None: the corpus's only set.
        views: which of them; None: all.
        text: columns that are kept as they are.
        split: train, val or test; None takes all.
        where: SQL condition over the columns of `assets`.

    Raises:
        UsageError: if there is no such set, member or view, nothing is selected, the condition is wrong, or the assets
            differ in the number or the size of their views.
        DataengineError: if the manifest cannot be read.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"no split {split!r} (choose from {', '.join(SPLITS)})")
    chosen = _choose_set(catalog, view_set)
    conditions = [
        f"view_set = '{chosen}'",
        "status = 'ok'",
        *([f"split = '{split}'"] if split else []),
        *([f"(\n{where}\n)"] if where else []),
    ]
    columns = ", ".join(["shard", '"row"', "tar", "members", "num_views", "resolution", *text])
    query = f"SELECT {columns} FROM renders WHERE {' AND '.join(conditions)}"
    found = _Found(catalog.corpus.store, chosen, suffixes, views, text)
    with sql_errors():
        for batch in catalog.sql(query).to_arrow_reader(_PIECE):
            found.add(pa.Table.from_batches([batch]))
    if not found.kinds:
        raise UsageError(_why_empty(catalog, chosen, split, where))
    return found.index()


def view_sets(catalog: Catalog) -> tuple[str, ...]:
    """The names of the corpus's view sets."""
    return tuple(s.name for s in catalog.corpus.config.sets)


def _choose_set(catalog: Catalog, asked: str | None) -> str:
    known = view_sets(catalog)
    if asked is None and len(known) == 1:
        return known[0]
    if asked is None:
        raise UsageError(
            f"{catalog.corpus.url} has several view sets ({', '.join(known)}): choose one with view_set= (--view-set)"
        )
    if asked not in known:
        raise UsageError(f"{catalog.corpus.url} has no view set {asked!r}{nearest(asked, known)}")
    return asked


def nearest(name: str, known: Sequence[str]) -> str:
    """What a message about an unknown name ends in: the name that was meant, or all."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f" (it has {', '.join(known)})"


def _why_empty(catalog: Catalog, chosen: str, split: str | None, where: str | None) -> str:
    url = catalog.corpus.url
    with sql_errors():
        ((ready, stale),) = catalog.sql(
            "SELECT count(*) FILTER (status = 'ok'), coalesce(bool_or(stale), false) FROM renders "
            f"WHERE view_set = '{chosen}'"
        ).fetchall()
    if not ready:
        again = "its views were made from another plan" if stale else "no asset has views yet"
        return f"{url} is not rendered: {again}; run `dataengine render` first"
    of_split = f" of split {split!r}" if split else ""
    matching = f" matches where={where!r}" if where else ""
    return f"{url}: none of the {ready:,} rendered assets{' is' * (not where)}{of_split}{matching}"


class _Found:
    """What is kept of the catalog's rows: they come in pieces and in any order, and are sorted at the end."""

    def __init__(
        self, store: Store, view_set: str, suffixes: Sequence[str], views: Sequence[int] | None, text: Sequence[str]
    ) -> None:
        self._store, self._view_set, self._suffixes, self._views = store, view_set, tuple(suffixes), views
        self._text = text
        self.kinds: Counter[tuple[int, int]] = Counter()
        self._names: list[str] = []
        self._tars: dict[int, str] = {}
        self.pieces: list[dict[str, Any]] = []

    def add(self, rows: pa.Table) -> None:
        """Takes some of the catalog's rows."""
        self.kinds.update(zip(rows["num_views"].to_pylist(), rows["resolution"].to_pylist(), strict=True))
        if len(self.kinds) > 1:
            return  # they are counted, for the message
        if not self._names:
            self._names = self._wanted()
        shard = rows["shard"].to_numpy()
        firsts = np.unique(shard, return_index=True)[1]
        self._tars |= zip(shard[firsts].tolist(), rows["tar"].take(pa.array(firsts)).to_pylist(), strict=True)
        ranges = [self._ranges(chunk) for chunk in rows["members"].chunks]
        piece = {name: np.concatenate([r[name] for r in ranges]) for name in ("block", "size", "digest")}
        if (piece["size"] < 0).any():
            self._missing(rows, piece["size"])
        text = {name: rows[name].combine_chunks() for name in self._text}
        self.pieces.append({**piece, "place": shard.astype(np.int64) << 32 | rows["row"].to_numpy(), **text})

    def index(self) -> ViewIndex:
        """All that was added."""
        if len(self.kinds) > 1:
            said = ", ".join(
                f"{n} of {views} views of {side}×{side}" for (views, side), n in sorted(self.kinds.items())
            )
            raise UsageError(f"the selected assets differ in their views ({said}): choose one kind with where=")
        place = np.concatenate([p["place"] for p in self.pieces])
        order = np.argsort(place)
        shards, shard, counts = np.unique(place[order] >> 32, return_inverse=True, return_counts=True)
        joined = {n: np.concatenate([p[n] for p in self.pieces])[order] for n in ("block", "size", "digest")}
        ((num_views, resolution),) = self.kinds
        return ViewIndex(
            store=self._store,
            view_set=self._view_set,
            num_views=num_views,
            resolution=resolution,
            views=self._of_views(num_views),
            suffixes=self._suffixes,
            tars=[self._tars[n] for n in shards.tolist()],
            counts=counts.astype(np.int64),
            shard=shard.astype(np.int32),
            **joined,
            text={n: pa.concat_arrays([p[n] for p in self.pieces]).take(pa.array(order)) for n in self._text},
        )

    def _wanted(self) -> list[str]:
        ((num_views, _),) = self.kinds
        return member_names(self._of_views(num_views), self._suffixes, num_views)

    def _of_views(self, num_views: int) -> tuple[int, ...]:
        chosen = range(num_views) if self._views is None else sorted(set(self._views))
        if chosen and not 0 <= chosen[0] <= chosen[-1] < num_views:
            wrong = next(v for v in chosen if not 0 <= v < num_views)
            raise UsageError(f"there is no view {wrong}: {self._view_set} has views 0 to {num_views - 1}")
        return tuple(chosen)

    def _ranges(self, members: pa.ListArray) -> dict[str, npt.NDArray[Any]]:
        """Where the wanted members of some rows are; size -1 where there is none."""
        row, all_of = pc.list_parent_indices(members).to_numpy(), pc.list_flatten(members)
        column = pc.index_in(all_of.field("name"), value_set=pa.array(self._names)).fill_null(-1).to_numpy()
        kept = np.flatnonzero(column >= 0)
        at = row[kept], column[kept]
        values = all_of.take(pa.array(kept))
        shape = len(members), len(self._names)
        block, size = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
        digest = np.zeros(shape, np.uint64)
        offset = values.field("offset").to_numpy()
        if (offset % BLOCKSIZE).any():
            raise DataengineError(
                f"{self._store.url} names members that do not begin at a tar's blocks; render it again"
            )
        block[at], size[at] = offset // BLOCKSIZE, values.field("size").to_numpy()
        starts = "".join(pc.utf8_slice_codeunits(values.field("sha256"), 0, 16).to_pylist())
        digest[at] = np.frombuffer(bytes.fromhex(starts), ">u8")
        return {"block": block, "size": size, "digest": digest}

    def _missing(self, rows: pa.Table, size: Int32) -> None:
        row, column = np.argwhere(size < 0)[0].tolist()
        members = [m["name"] for m in rows["members"][row].as_py()]
        has = sorted({_channel(name) for name in members if name.endswith(".png")})
        raise UsageError(
            f"view set {self._view_set} has no {_channel(self._names[column])}: "
            f"asset {rows['uid'][row].as_py()} has {', '.join(has)}"
        )


def _channel(member: str) -> str:
    """What a member of a view, `00.rgba.png`, holds."""
    name = member.split(".")[-2]
    return "colour" if name == "rgba" else name
