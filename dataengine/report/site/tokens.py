"""The tokens of a corpus as pictures again: what a set of them still knows of each view."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dataengine.corpus.config import ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment, list_fragments, list_stages
from dataengine.corpus.shards import read_member
from dataengine.errors import DataengineError
from dataengine.extras import how_to_install

if TYPE_CHECKING:
    from dataengine.tokenize.device_tokenizer import DeviceTokenizer

KIND = "tokens/"


@dataclass(frozen=True)
class TokenSet:
    """The tokens of one name: `stage` is their folder, `view_set` what they were made from, `channel` of its views."""

    name: str
    stage: str
    view_set: str
    channel: str
    weights_sha256: str


class DecodedTokens:
    """Decodes a corpus's tokens, an asset at a time. Each tokenizer is loaded once.

    Args:
        before: of the same corpus at an earlier time, whose tokenizers are used again.

    Attributes:
        sets: those whose tokenizer is at hand.
        left_out: a line for each of the others, saying why.
    """

    def __init__(self, corpus: Corpus, before: "DecodedTokens | None" = None) -> None:
        self._corpus = corpus
        self._tokenizers: dict[str, DeviceTokenizer] = before._tokenizers if before else {}
        self.sets: list[TokenSet] = []
        self.left_out: list[str] = []
        for stage in list_stages(corpus.store):
            shards = list_fragments(corpus.store, stage) if stage.startswith(KIND) else {}
            first = corpus.fragment(stage, min(shards)) if shards else None
            if first is not None:
                self._open(first)

    def of(self, view_set: ViewSet, shard: int) -> "list[ShardTokens]":
        """The tokens that were made from a view set's present views of a shard."""
        return [self.shard(each, shard) for each in self.sets if each.view_set == view_set.name]

    def shard(self, token_set: TokenSet, shard: int) -> "ShardTokens":
        """The tokens of a shard, of those that were made from its present views with the tokenizer that was loaded."""
        view_set = self._corpus.config.view_set(token_set.view_set)
        fragment = self._corpus.fragment(token_set.stage, shard)
        views = self._corpus.fragment(view_set.stage, shard)
        if (
            fragment is None
            or views is None
            or fragment.input != views.sha256
            or fragment.settings.get("tokenizer", {}).get("weights_sha256") != token_set.weights_sha256
        ):
            return ShardTokens(self, token_set, {})
        return ShardTokens(self, token_set, {row["uid"]: row for row in fragment.table.to_pylist()})

    def decode(self, token_set: TokenSet, row: dict[str, Any], views: list[int]) -> Iterator[Image.Image]:
        """The chosen views of an asset.

        Raises:
            DataengineError: if its codes cannot be read.
        """
        member = next(m for m in row["members"] if m["name"] == "tokens.npy")
        content = read_member(self._corpus.store, row["tar"], member)
        codes = np.load(io.BytesIO(content), allow_pickle=False)[views]
        yield from map(Image.fromarray, self._tokenizers[token_set.weights_sha256].decode_array(codes))

    def _open(self, fragment: Fragment) -> None:
        stage = fragment.stage
        try:
            from dataengine.tokenize.detokenize import load_for
            from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device

            spec = fragment.settings["tokenizer"]
            weights = str(spec["weights_sha256"])
            if weights not in self._tokenizers:
                self._tokenizers[weights] = DeviceTokenizer(load_for(fragment), pick_device("auto"))
        except ModuleNotFoundError as e:
            if (how := how_to_install(e)) is None:
                raise
            self.left_out.append(f"Decoded {stage} are left out: {how}")
        except KeyError:
            self.left_out.append(f"Decoded {stage} are left out: their fragments name no tokenizer")
        except DataengineError as e:
            self.left_out.append(f"Decoded {stage} are left out: {e}")
        else:
            made_from = fragment.head.get("made_from") or "views"
            view_set = self._corpus.config.set_of(self._corpus.views_stage if made_from == "views" else made_from)
            if view_set is not None:
                channel = str(spec.get("channel", "rgba")).replace("rgba", "colour")
                name = stage.removeprefix(KIND)
                self.sets.append(TokenSet(name, stage, view_set.name, channel, weights))


@dataclass(frozen=True)
class ShardTokens:
    """One set's tokens of a shard: uid → row of the fragment; no rows where they are stale or not made yet."""

    decoder: DecodedTokens
    token_set: TokenSet
    rows: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        return self.token_set.name

    def has(self, uid: str) -> bool:
        return uid in self.rows and self.rows[uid]["status"] == "ok"

    def about(self, uid: str, views: list[int]) -> dict[str, Any] | None:
        """For the page: name, channel, and each view's PSNR in dB where it was measured; None without tokens."""
        if not self.has(uid):
            return None
        psnr = self.rows[uid].get("psnr") or []
        known = [None if view >= len(psnr) or psnr[view] is None else round(psnr[view], 1) for view in views]
        return {"name": self.name, "channel": self.token_set.channel, "psnr": known}

    def pictures(self, uid: str, views: list[int]) -> Iterator[Image.Image]:
        """The chosen views of an asset that has tokens. Raises DataengineError if its codes cannot be read."""
        return self.decoder.decode(self.token_set, self.rows[uid], views)
