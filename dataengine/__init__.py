"""dataengine: collections of 3D models in; rendered, captioned, tokenized and queryable training data out.

    corpus = dataengine.plan("corpus", ["local:models"])    dataengine.open("corpus") later
    corpus.render()                                         .fetch() .tokenize() .status() .verify() .run(stage)
    corpus.sql("select error, count(*) from failures group by error").df()
    corpus.stream(256)                                      batches of tokens
    dataengine.Views(corpus)                                pictures, depth and cameras, as a torch dataset
    dataengine.train("run", corpus, "i2mv")                 .sample(…) .evaluate(…)

`dataengine.render` and `dataengine.tokenize` are packages; the verbs are methods of a corpus. docs/python.md has all.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from dataengine._version import __version__

if _TYPE_CHECKING:
    from dataengine.api.corpus import Corpus, open, plan
    from dataengine.api.learning import evaluate, sample, train
    from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
    from dataengine.manifests.catalog import Catalog
    from dataengine.render.decode import decode
    from dataengine.stages.stage import Stage
    from dataengine.training.data.stream import Stream
    from dataengine.training.data.views import Views

__all__ = [
    "AssetFailure",
    "Catalog",
    "Corpus",
    "DataengineError",
    "ErrorCode",
    "Stage",
    "Stream",
    "UsageError",
    "Views",
    "__version__",
    "decode",
    "evaluate",
    "open",
    "plan",
    "sample",
    "train",
]

_HOME = {
    **dict.fromkeys(("Corpus", "open", "plan"), "api.corpus"),
    **dict.fromkeys(("evaluate", "sample", "train"), "api.learning"),
    **dict.fromkeys(("AssetFailure", "DataengineError", "ErrorCode", "UsageError"), "errors"),
    "Catalog": "manifests.catalog",
    "Stage": "stages.stage",
    "decode": "render.decode",
    "Stream": "training.data.stream",
    "Views": "training.data.views",
}
_PACKAGES = ("render", "tokenize")


def __getattr__(name: str) -> object:
    # Lazily: `import dataengine.errors` in a worker must not pay for DuckDB, Arrow and torch.
    import importlib

    if name in _HOME:
        try:
            return getattr(importlib.import_module(f"dataengine.{_HOME[name]}"), name)
        except ModuleNotFoundError as e:
            from dataengine.extras import how_to_install

            if (line := how_to_install(e)) is None:
                raise
            raise ImportError(f"dataengine.{name}: {line}", name=e.name) from e
    if name in _PACKAGES:
        return importlib.import_module(f"dataengine.{name}")
    raise AttributeError(f"module 'dataengine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
