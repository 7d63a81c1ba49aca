"""Learns the packaged text tokenizer again, byte for byte: python scripts/learn_text_tokenizer.py

A byte-level BPE of 2048 subwords, learned from sentences of the kind that caption 3D models ("a small wooden rocking
chair with armrests"), put together from the words in text_words.json. Byte-level, so nothing is unknown to it: words
that it has never met fall into more pieces, nothing else.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PACKAGED = Path(__file__).parents[1] / "dataengine" / "training" / "text_tokenizer.json"
SIZE = 2048
SENTENCES = 20_000
_WORDS = Path(__file__).with_name("text_words.json")


def sentences() -> Iterator[str]:
    """The sentences that the packaged tokenizer was learned from; the same each time."""
    rng = random.Random(0)
    words = json.loads(_WORDS.read_text(encoding="utf-8"))
    things, looks, parts = (" ".join(words[kind]).split() for kind in ("things", "looks", "parts"))

    def thing() -> str:
        at = rng.randrange(len(things))  # the list has names of two words too, so runs of two are taken as well
        return " ".join(things[at : at + rng.choice((1, 1, 1, 2))])

    def described() -> str:
        return " ".join([*rng.sample(looks, rng.choice((0, 1, 1, 2))), thing()])

    for _ in range(SENTENCES):
        start = (
            rng.choice(words["scenes"])
            if rng.random() < 0.3
            else rng.choice(("a", "a", "an", "the", "two", "three", "several"))
        )
        text = f"{start} {described()}"
        if rng.random() < 0.5:
            text += f" with {rng.choice(('a', 'two', 'four', 'its'))} {rng.choice(looks)} {rng.choice(parts)}"
        if rng.random() < 0.4:
            joint = rng.choice(
                ("and", "on", "on top of", "next to", "in front of", "inside", "holding", "surrounded by")
            )
            text += f" {joint} a {described()}"
        yield text + rng.choice(("", ".", ", 3d asset"))


def learn() -> Tokenizer:
    """Learns the packaged tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=["[PAD]"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    return tokenizer


if __name__ == "__main__":
    learn().save(str(PACKAGED), pretty=False)
