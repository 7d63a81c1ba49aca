"""The page itself: the overview as HTML, and what its scripts need to begin."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.guard import sql_errors
from dataengine.manifests.status import status
from dataengine.report.site.columns import CHUNK, COLUMNS, SHOWN, plain_json
from dataengine.report.site.pictures import ACROSS, PER_SHEET
from dataengine.report.site.plots import distributions
from dataengine.sources.attribution import licence_url
from dataengine.sources.licences import is_non_commercial
from dataengine.visible import visible

STATIC = (
    "style.css",
    "data.js",
    "gallery.js",
    "cameras.js",
    "asset.js",
    "plot.js",
    "evaluations.js",
    "runs.js",
    "main.js",
)
MOST_ROWS = 30  # of a table on the overview

_TOTALS = f"""
    SELECT count(*), count(*) FILTER (status = 'ok'), count(*) FILTER (status = 'failed'), count(caption),
        coalesce(sum(bytes), 0)::BIGINT, coalesce(sum(cpu_seconds), 0.0) {SHOWN}
"""
_STORED = """
    SELECT coalesce(sum(list_sum(list_transform(members, lambda m: m.size))), 0)::BIGINT
    FROM renders WHERE status = 'ok'
"""
_FAILURES = """
    SELECT stage, error, count(*), arg_min(uid, (shard, row)), arg_min(uri, (shard, row)),
        arg_min(message, (shard, row)), arg_min(log, (shard, row))
    FROM failures GROUP BY stage, error ORDER BY count(*) DESC, stage, error
"""


def page(corpus: Corpus, *, pictures: bool, live: bool, runs: bool = False, left_out: Sequence[str] = ()) -> str:
    """The HTML of the report.

    Args:
        pictures: whether there are any.
        live: served from the corpus as it is now, not written to disk.
        runs: whether there is a page of training runs.
        left_out: lines about what is not shown, and why.

    Raises:
        UsageError, DataengineError: if the corpus cannot be read.
    """
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    jinja.filters |= {"visible": lambda text: visible(str(text)), "size": _size, "tail": _tail, "url": quote}
    source = files("dataengine.report.site").joinpath("page.html.jinja").read_text(encoding="utf-8")
    catalog = Catalog(corpus)
    with sql_errors():
        (totals,) = catalog.sql(_TOTALS).fetchall()
        ((stored,),) = catalog.sql(_STORED).fetchall()
        ((not_shown,),) = catalog.sql("SELECT count(*) FROM assets WHERE status IN ('duplicate', 'removed')").fetchall()
        failures = catalog.sql(_FAILURES).fetchall()
    begin = {
        "columns": [{"name": c.name, "label": c.label, "kind": c.kind} for c in COLUMNS],
        "chunks": -(-totals[0] // CHUNK),
        "assets": totals[0],
        "pictures": pictures,
        "across": ACROSS,
        "perSheet": PER_SHEET,
        "live": live,
    }
    return jinja.from_string(source).render(
        name=corpus.url.rstrip("/").rsplit("/", 1)[-1],
        live=live,
        totals=dict(zip(("assets", "ok", "failed", "captioned", "bytes", "cpu_seconds"), totals, strict=True)),
        stored=stored,
        runs=runs,
        not_shown=not_shown,
        left_out=left_out,
        stages=status(catalog).stages,
        failures=failures,
        counts=[(label, column, _counts(catalog, column)) for label, column in _TABLES],
        plots=distributions(catalog),
        config=corpus.config.to_yaml(),
        licence_url=licence_url,
        is_non_commercial=is_non_commercial,
        static=STATIC,
        begin=plain_json(begin),
    )


_TABLES = (("Licences", "licence"), ("Sources", "source"), ("Formats", "format"), ("Splits", "split"))


def _counts(catalog: Catalog, name: str) -> list[tuple[Any, ...]]:
    sql = next(column.sql for column in COLUMNS if column.name == name)
    query = f"SELECT {sql} AS word, count(*) {SHOWN} GROUP BY word ORDER BY count(*) DESC, word LIMIT {MOST_ROWS}"
    with sql_errors():
        return list(catalog.sql(query).fetchall())


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def _tail(log: str | None) -> str:
    return "\n".join((log or "").strip().splitlines()[-8:])
