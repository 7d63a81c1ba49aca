"""Views to discrete tokens and back: MAGVIT-v2 in both published variants, and a small one of our own."""

from dataengine.tokenize.checkpoint import load
from dataengine.tokenize.model import Tokenizer, build
from dataengine.tokenize.spec import TokenizerSpec

__all__ = ["Tokenizer", "TokenizerSpec", "build", "load"]
