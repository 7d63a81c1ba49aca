"""How much do captions tell? Views of the training object with the most similar caption, in the place of drawn ones.

    python benchmarks/captions.py CORPUS --tokens small --where "split <> 'train'"

No model: of each object that `--where` selects, the views of the one among the others (`--among` narrows them) whose
caption shares the rarest words with its own are compared with its true views, as `eval --task t2mv` compares drawn
ones: the share that is nearest to its own of ten. It says how far captions tell objects apart. Ties are broken by
chance, once for each seed.
"""

import argparse
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.training.data.index import build_index
from dataengine.training.evaluation.ground_truth import objects_of
from dataengine.training.evaluation.intervals import mean_interval
from dataengine.training.evaluation.retrieval import SIDE, Retrieval

LENGTH = 0.05  # what a word that only the other caption has costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--where", required=True, help="SQL: the objects that are looked up")
    parser.add_argument("--among", default="true", help="SQL: of the others, those that are looked among")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    catalog = Catalog(Corpus.open(args.corpus))
    asked, true = known(catalog, args.tokens, args.where)
    captions, views = known(catalog, args.tokens, f"({args.among}) AND NOT ({args.where})")
    found = []
    for seed in range(args.seeds):
        compared, nearest = Retrieval(), similarity(captions, seed)
        for caption, own in zip(asked, true, strict=True):
            compared.add(views[nearest(caption)][None], own[None])
        found.append(torch.tensor(compared.hits()))
    own = mean_interval(torch.stack(found).mean(0))
    each = ", ".join(f"{100 * float(hits.mean()):.1f}" for hits in found)
    value, low, high = (100 * x for x in (own.value, own.low, own.high))
    print(f"{len(asked)} objects among {len(captions)}: {value:.1f} % [{low:.1f}, {high:.1f}]")
    print(f"by seed: {each}")


def known(catalog: Catalog, tokens: str, where: str) -> tuple[list[str], Tensor]:
    """Captions, and (N, V, 3, SIDE, SIDE) of the views that `eval` looks at."""
    index = build_index(catalog, tokens, where=where)
    captions: list[str] = []
    views: list[Tensor] = []
    for batch, truth in objects_of(catalog, tokens, index, (255, 255, 255), None, None):
        captions += batch.captions
        views.append(truth.scaled(SIDE).images)
    return captions, torch.cat(views)


def similarity(captions: list[str], seed: int) -> Callable[[str], int]:
    """From a caption to the most similar one's number: the sum of the shared words' inverse document frequencies."""
    words = [set(re.findall(r"\w+", caption.lower())) for caption in captions]
    count = Counter(word for own in words for word in own)
    chance = random.Random(seed)

    def nearest(caption: str) -> int:
        asked = set(re.findall(r"\w+", caption.lower()))
        scores = [
            sum(math.log(len(words) / count[word]) for word in sorted(asked & own)) - LENGTH * len(own - asked)
            for own in words
        ]
        most = max(scores)
        return chance.choice([i for i, score in enumerate(scores) if score == most])

    return nearest


if __name__ == "__main__":
    main()
