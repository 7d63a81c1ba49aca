import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.training.text import LENGTH, PAD, text_tokenizer
from scripts import learn_text_tokenizer


def test_the_packaged_tokenizer_is_what_its_recipe_makes(tmp_path: Path) -> None:
    learn_text_tokenizer.learn().save(str(tmp_path / "again.json"), pretty=False)
    assert (tmp_path / "again.json").read_bytes() == learn_text_tokenizer.PACKAGED.read_bytes()


def test_captions_are_short_in_tokens() -> None:
    tokenizer = text_tokenizer()
    ids = tokenizer.encode(["a low-poly wooden treasure chest with gold coins", ""])
    assert ids.shape == (2, LENGTH)
    assert (ids[0] != PAD).sum() <= 13
    assert (ids[1] == PAD).all()
    assert tokenizer.size == learn_text_tokenizer.SIZE


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=33, exclude_categories=["Cs", "Z", "C"]), max_size=6))
def test_nothing_is_unknown(text: str) -> None:
    tokenizer = text_tokenizer()
    said = unicodedata.normalize("NFKC", text).lower()
    # The tokenizer's tables may be of an older Unicode than Python's: what it let pass is normalised here.
    heard = unicodedata.normalize("NFKC", tokenizer.decode(tokenizer.encode([text])[0].tolist())).lower()
    assert heard == said.strip()
