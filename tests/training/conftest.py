from typing import Any

import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.training.data.index import SampleIndex, build_index

from .synthetic import make_corpus


def index_of(corpus: Corpus, **choice: Any) -> SampleIndex:
    return build_index(Catalog(corpus), "toy", **choice)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def index(corpus: Corpus) -> SampleIndex:
    return index_of(corpus)
