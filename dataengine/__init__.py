"""dataengine: collections of 3D models in; rendered, captioned, tokenized and queryable training data out."""

from typing import TYPE_CHECKING, Any

from dataengine._version import __version__

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus
    from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
    from dataengine.manifests.catalog import Catalog

__all__ = ["AssetFailure", "Catalog", "Corpus", "DataengineError", "ErrorCode", "UsageError", "__version__"]

_HOME = {
    "Catalog": "dataengine.manifests.catalog",
    "Corpus": "dataengine.corpus.corpus",
    "AssetFailure": "dataengine.errors",
    "DataengineError": "dataengine.errors",
    "ErrorCode": "dataengine.errors",
    "UsageError": "dataengine.errors",
}


def __getattr__(name: str) -> Any:
    # Lazily: `import dataengine.errors` in a worker must not pay for DuckDB and Arrow.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "tokenize":
        import importlib

        return importlib.import_module("dataengine.tokenize")
    raise AttributeError(f"module 'dataengine' has no attribute {name!r}")
