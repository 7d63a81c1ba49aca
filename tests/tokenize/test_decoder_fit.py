"""Fitting a depth-guided decoder, its file, and what is decoded with it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor

from dataengine.cli import build as build_cli
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import build, load
from dataengine.tokenize.decoder_file import SHIPPED, load_decoder, save_decoder
from dataengine.tokenize.decoder_fit import fit_decoder
from dataengine.tokenize.decoder_step import DecoderRun, DecoderSettings
from dataengine.tokenize.depth_guided import DepthGuidedDecoder, Guidance
from dataengine.tokenize.given_pixels import CARRIED
from dataengine.tokenize.model import Tokenizer, with_spec
from dataengine.training.guided import GuidedDecoding
from dataengine.training.tasks.together import decode_together
from tests.view_corpus import make_view_corpus

WIDTHS: dict[str, Any] = {
    "bits": 6, "encoder_widths": (8, 8), "encoder_blocks": (1, 1), "decoder_widths": (8, 8, 8, 8),
    "decoder_blocks": (1, 1, 1, 1),
}  # fmt: skip


def tokenizer(sha256: str = "1" * 64) -> Tokenizer:
    torch.manual_seed(0)
    return with_spec(build("small", **WIDTHS), weights_sha256=sha256)


def batch(seed: int) -> dict[str, Tensor]:
    """Three views of a plane with a new texture."""
    chance = torch.Generator().manual_seed(seed)
    K = torch.tensor([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]).expand(1, 3, 3, 3)
    c2w = torch.eye(4).repeat(1, 3, 1, 1)
    c2w[0, :, 0, 3] = torch.tensor([-0.25, 0, 0.25])
    c2w[0, :, 2, 3] = -2.0
    return {
        "colour": torch.rand((1, 3, 3, 16, 16), generator=chance),
        "alpha": torch.ones(1, 3, 1, 16, 16),
        "depth": torch.full((1, 3, 1, 16, 16), 2.0),
        "K": K,
        "c2w": c2w,
        "orthographic": torch.zeros(1, 3, dtype=torch.bool),
    }


def stream(seen: int) -> Iterator[dict[str, Tensor]]:
    while True:
        yield batch(seen)
        seen += 1


def fit(out: Path, steps: int, made: Tokenizer | None = None) -> None:
    fit_decoder(made or tokenizer(), stream, [batch(999)], out, steps=steps, recipe=DecoderSettings(views=3))


def test_a_fit_that_is_gone_on_with_is_the_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.tokenize.decoder_fit.KEEP_EVERY", 2)
    fit(tmp_path / "whole.safetensors", 5)

    def stop(progress: Any) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_decoder(
            tokenizer(), stream, [batch(999)], tmp_path / "twice.safetensors", steps=5,
            recipe=DecoderSettings(views=3), on_step=stop,
        )  # fmt: skip
    fit(tmp_path / "twice.safetensors", 5)
    whole, twice = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "twice"))
    assert whole.keys() == twice.keys() and all(torch.equal(whole[k], twice[k]) for k in whole)
    report = json.loads((tmp_path / "whole.json").read_text())
    assert report["steps"] == 5 and report["held_out"]["views"] == 2
    assert (tmp_path / "whole.csv").read_text().startswith("step,seconds,loss,psnr_object")
    with pytest.raises(UsageError, match="is of a decoder for small"):
        fit(tmp_path / "twice.safetensors", 6, tokenizer("2" * 64))
    (tmp_path / "twice.fit").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="is not the state of this fit"):
        fit(tmp_path / "twice.safetensors", 6)
    with pytest.raises(UsageError, match="nothing is held out"):
        fit_decoder(tokenizer(), stream, [], tmp_path / "a.safetensors", steps=1, recipe=DecoderSettings())


def test_files_that_are_not_this_decoder(tmp_path: Path) -> None:
    ours, path = tokenizer(), tmp_path / "d.safetensors"
    decoder = DepthGuidedDecoder(ours)
    torch.nn.init.normal_(decoder.attention[0].out.weight)  # type: ignore[union-attr, arg-type]
    save_decoder(decoder, path)
    read = load_decoder(path, ours).state_dict()
    assert all(torch.equal(read[k], v.half().float()) for k, v in decoder.state_dict().items())
    with pytest.raises(UsageError, match="decodes tokens of small .1111.*, not those of small .2222"):
        load_decoder(path, tokenizer("2" * 64))
    with pytest.raises(UsageError, match="is not a file"):
        load_decoder(tmp_path / "nowhere.safetensors", ours)
    tensors = load_file(path)
    header = {"kind": "depth-guided decoder", "format": 1, "tokenizer": "small", "weights_sha256": "1" * 64,
              "guidance": decoder.guidance.to_json()}  # fmt: skip
    for change, said in (
        ({"kind": "reconstructor"}, "is a reconstructor, not"),
        ({"format": 5}, "is of format 5, this version reads 4: update"),
        ({"guidance": {"points": "x"}}, "says nothing that can be read"),
        ({"guidance": {**header["guidance"], "widths": [10**6] * 4}}, "asks for layers"),  # type: ignore[dict-item]
        ({"guidance": {**header["guidance"], "widths": [8] * 4}}, "has shape"),  # type: ignore[dict-item]
    ):
        save_file(tensors, path, {"dataengine": json.dumps({**header, **change})})
        with pytest.raises(DataengineError, match=said):
            load_decoder(path, ours)
    save_file(tensors, path)
    with pytest.raises(DataengineError, match="is not a decoder that"):
        load_decoder(path, ours)
    first = next(iter(tensors))
    save_file({k: v for k, v in tensors.items() if k != first}, path, {"dataengine": json.dumps(header)})
    with pytest.raises(DataengineError, match="lacks"):
        load_decoder(path, ours)


def test_without_attention_the_tokenizers_decoder_stays_as_it_is(tmp_path: Path) -> None:
    ours, path = tokenizer(), tmp_path / "d.safetensors"
    recipe = DecoderSettings(views=3, given=1.0)
    fit_decoder(ours, stream, [batch(999)], path, steps=3, recipe=recipe, attend=False)
    assert {name.partition(".")[0] for name in load_file(path)} == {"carried", "edges"}
    made = load_decoder(path, ours)
    assert made.carried is not None and made.edges is not None
    assert any(p.any() for p in made.carried.trust[-1].parameters())  # type: ignore[union-attr]
    assert made.edges.leave.weight.any()
    plain = ours.decoder.state_dict()
    assert all(torch.equal(plain[name], value) for name, value in made.decoder.state_dict().items())
    carrying = replace(made.guidance, edges=0)  # as files of format 2 are
    save_decoder(DepthGuidedDecoder(ours, carrying), path)
    tokens: Any = SimpleNamespace(settings={"tokenizer": {}})  # no more of it is looked at
    with pytest.raises(UsageError, match="here none is given"):
        decode_together(tokens, tokens, "uid", ours, path)
    nothing = {**batch(0), "depth": torch.zeros(1, 3, 1, 16, 16)}
    run = DecoderRun(ours, made, recipe)
    run.train_step(nothing, 0.0)
    assert run.step == 1  # there was nothing to learn of, and no error


@pytest.mark.parametrize(("number", "unknown"), [(1, ("carried", "edges")), (2, ("edges",))])
def test_files_of_former_formats_are_read(number: int, unknown: tuple[str, ...], tmp_path: Path) -> None:
    """They say nothing of what came later: it is not there."""
    ours, path = tokenizer(), tmp_path / "d.safetensors"
    decoder = DepthGuidedDecoder(ours)
    save_decoder(decoder, path)
    guidance = {k: v for k, v in decoder.guidance.to_json().items() if k not in unknown}
    header = {"kind": "depth-guided decoder", "format": number, "tokenizer": "small", "weights_sha256": "1" * 64,
              "guidance": guidance}  # fmt: skip
    save_file(load_file(path), path, {"dataengine": json.dumps(header)})
    assert load_decoder(path, ours).guidance == decoder.guidance


def test_a_file_of_format_3_decodes_as_it_did(tmp_path: Path) -> None:
    """Its network of edges did not see what is carried."""
    ours, path = tokenizer(), tmp_path / "d.safetensors"
    decoder = DepthGuidedDecoder(ours, Guidance.without_attention(4)).eval()
    assert decoder.edges is not None
    torch.nn.init.normal_(decoder.edges.leave.weight)
    torch.nn.init.zeros_(decoder.edges.enter.weight[:, -CARRIED:])
    save_decoder(decoder, path)
    tensors = load_file(path)
    tensors["edges.enter.weight"] = tensors["edges.enter.weight"][:, :-CARRIED].contiguous()
    header = {"kind": "depth-guided decoder", "format": 3, "tokenizer": "small", "weights_sha256": "1" * 64,
              "guidance": decoder.guidance.to_json()}  # fmt: skip
    save_file(tensors, path, {"dataengine": json.dumps(header)})
    read = load_decoder(path, ours).state_dict()
    added = {k: v for k, v in decoder.state_dict().items() if not k.startswith("decoder.")}
    assert all(torch.equal(read[k], v.half().float()) for k, v in added.items())


def test_a_fit_begins_with_other_weights(tmp_path: Path) -> None:
    ours = tokenizer()
    start = DepthGuidedDecoder(ours, Guidance.without_attention(4))
    assert start.edges is not None
    torch.nn.init.normal_(start.edges.leave.weight)
    recipe = DecoderSettings(views=3, learning_rate=1e-9)
    how: dict[str, Any] = {"steps": 1, "recipe": recipe, "start": start}
    fit_decoder(ours, stream, [batch(999)], tmp_path / "d.safetensors", attend=False, **how)
    made = load_decoder(tmp_path / "d.safetensors", ours)
    assert made.edges is not None and torch.allclose(made.edges.leave.weight, start.edges.leave.weight, atol=1e-2)
    with pytest.raises(UsageError, match="has other layers than this fit; it was made with --no-attention"):
        fit_decoder(ours, stream, [batch(999)], tmp_path / "e.safetensors", **how)


def test_the_one_that_ships_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the default tokenizer, is small, and a file of that name goes before it."""
    small = load("small")
    shipped = load_decoder(Path("small"), small)
    assert shipped.spec.weights_sha256 == small.spec.weights_sha256
    assert shipped.guidance.after_decoding and shipped.guidance.edges and shipped.guidance.carried
    assert (SHIPPED / "small.safetensors").stat().st_size < 10e6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").write_bytes(b"nothing")
    with pytest.raises(DataengineError):
        load_decoder(Path("small"), small)


def test_one_view_is_decoded_plainly_and_views_without_depth_by_their_hull() -> None:
    ours = tokenizer().eval()
    decoder = DepthGuidedDecoder(ours).eval()
    for block in decoder.attention:
        torch.nn.init.normal_(block.out.weight)  # type: ignore[union-attr, arg-type]
    decode = GuidedDecoding(ours, decoder, torch.ones(3))
    chance = torch.Generator().manual_seed(0)
    codes = torch.randint(64, (1, 3, 4), generator=chance)
    plain = ((ours.decode(codes[0].view(3, 2, 2)) + 1) / 2).clamp(0, 1)
    there = batch(0)
    cameras = torch.zeros(1, 3, 30)
    cameras[..., :9], cameras[..., 9:25] = there["K"].flatten(2), there["c2w"].flatten(2)
    assert torch.allclose(decode(codes[:, :1], (2, 2), cameras[:, :1])[0], plain[:1], atol=1e-6)
    depth = there["depth"][:, :, 0]
    told = decode(codes, (2, 2), cameras, depth=depth)[0]
    assert not torch.allclose(told, plain, atol=1e-3)
    assert torch.allclose(decode(codes, (2, 2), cameras, depth=depth * 0)[0], plain, atol=1e-6)
    assert decode(codes, (2, 2), cameras).shape == (1, 3, 3, 16, 16)


def test_the_command_fits_on_a_corpus(tmp_path: Path) -> None:
    corpus = make_view_corpus(tmp_path / "corpus", assets=24, shard_size=12)
    words = ["decoder", "fit", corpus.url, "-o", str(tmp_path / "d.safetensors"), "--steps", "1", "--views", "3"]
    done = CliRunner().invoke(build_cli(), words)
    assert done.exit_code == 0, done.output
    assert "on the object (plain" in done.output and (tmp_path / "d.safetensors").stat().st_size < 10e6
    done = CliRunner().invoke(build_cli(), [*words, "--view-set", "nowhere"])
    assert done.exit_code == 2 and "has no view set nowhere" in done.output
    done = CliRunner().invoke(build_cli(), [*words, "--where", "false"])
    assert done.exit_code == 2
