"""Which sampler, which schedule, how many steps? A run's views of held-out objects, measured for each.

    python benchmarks/sweep.py RUN CORPUS --limit 32
    python benchmarks/sweep.py RUN CORPUS --steps 20 --temperature 0.3,0.7,1 --guidance 0,1
    python benchmarks/sweep.py RUN CORPUS --stage t2mv --split test

Every setting draws the same objects from the same seed. PSNR and the feature distance are means over the views that had
to be guessed, beside those of the copied first view and of the tokenizer's round trip.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.tokenize import load
from dataengine.tokenize.features import feature_distance
from dataengine.tokenize.metrics import psnr
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import decode_views
from dataengine.training.data.index import build_index
from dataengine.training.evaluation.ground_truth import objects_of
from dataengine.training.sample import background_of, load_run
from dataengine.training.sampler import generate
from dataengine.training.text import text_tokenizer
from dataengine.training.tokens_spec import tokenizer_of, tokens_for

SAMPLERS: dict[str, dict[str, Any]] = {
    "confidence": {"method": "confidence", "remask": 0.0},
    "confidence + ReMDM": {"method": "confidence", "remask": 0.5},
    "halton": {"method": "halton", "remask": 0.0},
    "halton + ReMDM": {"method": "halton", "remask": 0.5},
}


def main() -> None:
    def numbers(text: str) -> list[float]:
        return [float(n) for n in text.split(",")]

    usual = Sampling()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus")
    parser.add_argument("--stage", default="i2mv", choices=["i2mv", "t2mv"])
    parser.add_argument("--where", default="split <> 'train'")
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--schedules", default="cosine,linear,quadratic,front")
    parser.add_argument("--steps", type=numbers, default=[5, 10, 20])
    parser.add_argument("--temperature", type=numbers, default=[usual.temperature])
    parser.add_argument("--noise", type=numbers, default=[usual.noise])
    parser.add_argument("--guidance", type=numbers, default=[usual.guidance])
    args = parser.parse_args()
    trained, corpus = load_run(args.run, (args.stage,)), Corpus.open(args.corpus)
    name, given = tokens_for(corpus, trained.state), 1 if args.stage == "i2mv" else 0
    codec, catalog = load(trained.state.tokenizer["name"]), Catalog(corpus)
    index = build_index(catalog, name, where=args.where)
    side = tokenizer_of(corpus, name).get("resolution")
    found = list(objects_of(catalog, name, index, background_of(trained.state.tokenizer), side, args.limit))
    codes = torch.cat([batch.tokens.flatten(2).clone() for batch, _ in found])
    cameras = torch.cat([batch.cameras.clone() for batch, _ in found])
    captions = ["" if given else caption for batch, _ in found for caption in batch.captions]
    truth = torch.cat([true.images for _, true in found])
    hidden, text = torch.full_like(codes, trained.state.model.mask), text_tokenizer().encode(captions)
    hidden[:, :given] = codes[:, :given]
    console, table = (
        Console(),
        Table("sampler", "schedule", "steps", "temperature", "noise", "guidance", "PSNR", "feature"),
    )

    def row(images: torch.Tensor, *names: object) -> None:
        a, b = images[:, given:].flatten(0, 1), truth[:, given:].flatten(0, 1)
        figures = f"{float(psnr(a, b).mean()):.2f}", f"{float(feature_distance(a, b).mean()):.4f}"
        table.add_row(*map(str, names), *figures)
        print(*names, *figures, flush=True)

    settings = itertools.product(
        args.samplers.split(","), args.schedules.split(","), args.steps, args.temperature, args.noise, args.guidance
    )
    for sampler, schedule, steps, temperature, noise, guidance in settings:
        how = Sampling(int(steps), schedule=schedule, temperature=temperature, noise=noise, guidance=guidance)
        drawn = generate(trained.model, text, hidden, cameras, replace(how, **SAMPLERS[sampler]))
        images = decode_views(codec, drawn, trained.state.model.grid)
        row(images, sampler, schedule, int(steps), temperature, noise, guidance)
    if given:
        row(truth[:, :1].expand_as(truth), "first view copied", *5 * "–")
    row(decode_views(codec, codes, trained.state.model.grid), "round trip", *5 * "–")
    console.print(f"{len(truth)} objects of {args.corpus}, {trained.checkpoint}", table)


if __name__ == "__main__":
    main()
