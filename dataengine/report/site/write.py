"""`report`: the pages of a corpus as a folder that opens from disk."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.os_errors import explain
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.report.contact import channels_of
from dataengine.report.site.columns import batches, encode, script
from dataengine.report.site.details import rows_script, shard_assets
from dataengine.report.site.pages import STATIC, page
from dataengine.report.site.pictures import decoded_turntable, sheets_of, thumbnails, turntable
from dataengine.report.site.run_folder import RunFolder
from dataengine.report.site.runs import runs_data, write_sheets
from dataengine.report.site.tokens import DecodedTokens

MARK = "report.txt"


@dataclass(frozen=True)
class Written:
    """What a report holds: assets, pictures (files), and the bytes of all else; a line for each thing left out."""

    assets: int
    pictures: int
    bytes: int
    left_out: list[str]


def write_report(
    corpus: Corpus,
    folder: Path,
    *,
    pictures: bool = True,
    tokens: bool = True,
    runs: Sequence[RunFolder] = (),
    on_shard: Callable[[int, int], None] = lambda done, of: None,
) -> Written:
    """Writes the report; an older one in the folder is replaced when the new one is whole.

    Memory is that of a shard, a chunk of the gallery's rows, and DuckDB's sort of all of them.

    Args:
        tokens: decode them, among the pictures.
        runs: trainings to show; their sheets are among the pictures.
        on_shard: told how many shards are done, of how many.

    Raises:
        UsageError: if the folder holds anything but a report, or cannot be written.
        DataengineError: if the corpus or a run cannot be read.
    """
    corpus.check_models()
    folder = folder.absolute()
    if folder.exists() and not (folder / MARK).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty, and no report: choose a new folder")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            new = Path(scratch, "new")
            decoded = DecodedTokens(corpus) if pictures and tokens else None
            written = _write(corpus, new, pictures, decoded, runs, on_shard)
            if folder.exists():
                folder.rename(Path(scratch, "old"))
            new.rename(folder)
    except OSError as e:
        raise UsageError(explain(e, str(folder))) from e
    return written


def _write(
    corpus: Corpus,
    folder: Path,
    pictures: bool,
    decoded: DecodedTokens | None,
    runs: Sequence[RunFolder],
    on_shard: Callable[[int, int], None],
) -> Written:
    for name in ("static", "data", "rows", *(("thumbs", "views") if pictures else ())):
        (folder / name).mkdir(parents=True)
    (folder / MARK).write_text("written by dataengine report; made anew as a whole\n")
    for name in STATIC:
        shutil.copyfile(str(files("dataengine.report.site").joinpath("static", name)), folder / "static" / name)
    assets = 0
    for n, batch in enumerate(batches(Catalog(corpus))):
        (folder / "data" / f"{n}.js").write_text(script("report.chunk", n, encode(batch)))
        assets += batch.num_rows
    count = 0
    shards = corpus.shards()
    for done, shard in enumerate(shards, start=1):
        rows = rows_script(corpus, shard, pictures=pictures, decoded=decoded)
        (folder / "rows" / f"{shard}.js").write_text(rows)
        if pictures:
            count += _pictures(corpus, folder, shard, decoded)
        on_shard(done, len(shards))
    if runs:
        data = runs_data(runs, sheets=pictures)
        (folder / "data" / "runs.js").write_text(script("report.runs", data))
        count += write_sheets(runs, folder) if pictures else 0
    # The page comes last: it counts what is there, and without it nothing opens.
    left_out = decoded.left_out if decoded else []
    text = page(corpus, pictures=pictures, live=False, runs=bool(runs), left_out=left_out)
    (folder / "index.html").write_text(text, encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.suffix != ".webp")
    return Written(assets, count, size, left_out)


def _pictures(corpus: Corpus, folder: Path, shard: int, decoded: DecodedTokens | None) -> int:
    count = 0
    for view_set in corpus.config.sets:
        tokens = decoded.of(view_set, shard) if decoded else []
        shown = shard_assets(corpus, shard, view_set)
        if view_set is corpus.config.sets[0]:
            for sheet in sheets_of([asset.plan["row"] for asset in shown]):
                if content := thumbnails(corpus, shard, sheet):
                    (folder / "thumbs" / f"{shard}-{sheet}.webp").write_bytes(content)
                    count += 1
        for asset in shown:
            if asset.status == "ok":
                place = folder / "views" / str(shard) / asset.uid
                place.mkdir(parents=True, exist_ok=True)
                for channel in channels_of(view_set):
                    (place / f"{view_set.name}.{channel}.webp").write_bytes(turntable(asset, channel))
                    count += 1
                for each in tokens:
                    if each.has(asset.uid):
                        place = folder / "tokens" / str(shard) / asset.uid
                        place.mkdir(parents=True, exist_ok=True)
                        (place / f"{each.name}.webp").write_bytes(decoded_turntable(asset, each))
                        count += 1
    return count
