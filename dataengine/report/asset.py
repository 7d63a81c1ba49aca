"""One asset of a corpus, with all that is known of it and its members at hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dataengine.corpus.config import ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.rewrite import read_group
from dataengine.corpus.shards import read_member
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.uids import whole_uid
from dataengine.render.views import Views, load_views


@dataclass(frozen=True)
class Asset:
    """An asset as it stands.

    Attributes:
        corpus: where it lies.
        plan: its row of the plan.
        view_set: what it is looked at in.
        result: its row of the set's fragment; None until its shard is rendered.
        stale: the fragment was made from another plan than the present one.
    """

    corpus: Corpus
    plan: Mapping[str, Any]
    view_set: ViewSet
    result: Mapping[str, Any] | None
    stale: bool

    @property
    def uid(self) -> str:
        return str(self.plan["uid"])

    @property
    def status(self) -> str:
        """'planned', 'ok' or 'failed'."""
        return str(self.plan["status"] if self.result is None else self.result["status"])

    @property
    def title(self) -> str:
        """Its title, or the name of its file."""
        return str(self.plan["title"] or str(self.plan["uri"]).rsplit("/", 1)[-1])

    def read(self, name: str) -> bytes:
        """A member of its views, such as `cameras.json` or `00.rgba.png`.

        Raises:
            DataengineError: if it has no such member, or the tar is missing or has changed.
        """
        for member in self._members():
            if member["name"] == name:
                return read_member(self.corpus.store, str((self.result or {})["tar"]), member)
        raise DataengineError(f"asset {self.uid} has no member {name}: its status is {self.status}")

    def names(self) -> list[str]:
        """The names of its members."""
        return [m["name"] for m in self._members()]

    def views(self) -> Views:
        """All its views. Raises DataengineError when it has none."""
        return load_views(self.contents() or {"": self.read("cameras.json")})

    def contents(self) -> dict[str, bytes]:
        """All its members by name. Raises DataengineError if the tar is missing or has changed."""
        return read_group(self.corpus.store, self.result or {"members": None})

    def _members(self) -> list[Mapping[str, Any]]:
        return [] if self.result is None else list(self.result["members"] or [])


def find_asset(corpus: Corpus, uid: str, views: str | None = None) -> Asset:
    """The asset of a uid, or of the beginning of one.

    Args:
        views: name of the view set to look at; None: the first.

    Raises:
        UsageError: if there is none, or several begin so; the message names the nearest. Or if there is no such set.
    """
    catalog = Catalog(corpus)
    shard, row = catalog.find(whole_uid(catalog, uid))
    return load_asset(corpus, shard, row, views)


def load_asset(corpus: Corpus, shard: int, row: int, views: str | None = None) -> Asset:
    """The asset at a place in the plan, in the view set of that name; None: the first."""
    view_set = corpus.config.sets[0] if views is None else corpus.config.view_set(views)
    plan = next(r for r in corpus.plan(shard).to_pylist() if r["row"] == row)  # removed assets leave gaps
    fragment = corpus.fragment(view_set.stage, shard)
    if fragment is None:
        return Asset(corpus, plan, view_set, None, False)
    results = fragment.table.slice(row, 1).to_pylist()
    if not results or results[0]["uid"] != plan["uid"]:  # rendered from an older plan
        results = [r for r in fragment.table.to_pylist() if r["uid"] == plan["uid"]]
    stale = fragment.input != plan["shard_input"] + view_set.input
    return Asset(corpus, plan, view_set, results[0] if results else None, stale)


def rendered(corpus: Corpus, where: str | None = None, views: str | None = None) -> Iterator[Asset]:
    """The assets that have views, of those that a condition selects, in the corpus's order; a shard is held at a time.

    Args:
        where: SQL over the columns of `renders`, which are those of `assets`.
        views: name of the view set; None: the first.

    Raises:
        UsageError: if the condition is wrong, or there is no such set.
    """
    view_set = corpus.config.sets[0] if views is None else corpus.config.view_set(views)
    query = f"SELECT shard, uid FROM renders WHERE {of_set(view_set, where)} ORDER BY shard, row"
    rows = Catalog(corpus).sql(query).fetchall()
    for shard, group in groupby(rows, key=lambda row: int(row[0])):
        selected = {uid for _, uid in group}
        fragment = corpus.fragment(view_set.stage, shard)
        plan = {row["uid"]: row for row in corpus.plan(shard).to_pylist()}
        for row in fragment.table.to_pylist() if fragment else ():
            if row["uid"] in selected and row["uid"] in plan:
                yield Asset(corpus, plan[row["uid"]], view_set, row, False)


def of_set(view_set: ViewSet, where: str | None) -> str:
    """The condition, over `renders`, for rows with views in a set that a person's condition selects."""
    chosen = f" AND (\n{where}\n)" if where else ""
    return f"view_set = '{view_set.name}' AND status = 'ok' AND NOT stale{chosen}"
