"""Captions as tokens: a small subword tokenizer that ships with the package and needs no download."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer

PAD = 0
LENGTH = 32
"""Tokens of a caption; longer ones are cut. Cap3D's captions have 16 words on average."""

_FILE = Path(__file__).with_name("text_tokenizer.json")


class TextTokenizer:
    """Byte-level BPE of 2048 subwords; scripts/learn_text_tokenizer.py says how it was made.

    Attributes:
        size: of the vocabulary.
        sha256: of its file; a run remembers it.
    """

    def __init__(self) -> None:
        content = _FILE.read_bytes()
        self._tokenizer = Tokenizer.from_buffer(content)
        self.size: int = self._tokenizer.get_vocab_size()
        self.sha256 = hashlib.sha256(content).hexdigest()

    def encode(self, captions: Sequence[str]) -> torch.Tensor:
        """(B, LENGTH) int64, padded with PAD. An empty caption is PAD throughout: what the model takes for none."""
        out = torch.full((len(captions), LENGTH), PAD, dtype=torch.int64)
        for row, encoding in zip(out, self._tokenizer.encode_batch(list(captions)), strict=True):
            ids = encoding.ids[:LENGTH]
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return out

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode([i for i in ids if i != PAD])).strip()


@cache
def text_tokenizer() -> TextTokenizer:
    """The packaged tokenizer."""
    return TextTokenizer()
