"""What the processor can do, from a file as the kernel writes it (Linux, arch/x86/include/asm/cpufeatures.h)."""

from pathlib import Path

import pytest

from dataengine import processor


@pytest.mark.parametrize(("flags", "does"), [("fpu amx_bf16 amx_tile", True), ("fpu avx512_bf16", False), ("", False)])
def test_which_processors_multiply_bfloat16(
    flags: str, does: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(processor, "INFO", tmp_path / "cpuinfo")
    assert processor.multiplies_bfloat16() is does


def test_a_machine_without_that_file_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "INFO", tmp_path / "none")
    assert not processor.multiplies_bfloat16()
