"""Files that people take away, read by other readers, and what is said when they cannot be made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from click.testing import CliRunner, Result
from PIL import Image

from dataengine.cli import build
from dataengine.errors import UsageError
from dataengine.geometry.gaussians import Gaussians
from dataengine.render.blender.protocol import Camera
from dataengine.render.rigs import rig
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.reconstruct.outputs import write_turntable
from dataengine.training.reconstruct.ply import write_points, write_splats
from dataengine.training.reconstruct.weights import save_reconstructor
from tests import view_corpus
from tests.synthetic import uid_of
from tests.training.synthetic import orbit_cameras


def three() -> Gaussians:
    """One that is opaque, one half as much, one that cannot be seen."""
    return Gaussians(
        centres=torch.tensor([[0.1, 0.2, 0.3], [0.0, -0.1, 0.0], [9.0, 9.0, 9.0]]),
        scales=torch.tensor([[0.01, 0.02, 0.04]]).expand(3, -1),
        rotations=torch.tensor([[0.5, 0.5, -0.5, 0.5]]).expand(3, -1),
        opacities=torch.tensor([0.8, 0.25, 0.001]),
        colours=torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0]]),
    )


def test_splats_are_in_the_published_layout(tmp_path: Path) -> None:
    assert write_splats(tmp_path / "s.ply", three()) == 2
    content = (tmp_path / "s.ply").read_bytes()
    head, body = content.split(b"end_header\n", 1)
    lines = head.decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    assert len(names) == len(lines) - 3 == 17
    first = dict(zip(names, np.frombuffer(body, "<f4").reshape(2, 17)[0].tolist(), strict=True))
    assert [first[n] for n in "xyz"] == pytest.approx([0.1, 0.2, 0.3])
    assert 1 / (1 + np.exp(-first["opacity"])) == pytest.approx(0.8)
    assert np.exp([first[f"scale_{i}"] for i in range(3)]) == pytest.approx([0.01, 0.02, 0.04])
    assert [first[f"rot_{i}"] for i in range(4)] == pytest.approx([0.5, 0.5, -0.5, 0.5])
    # colour = 0.5 + f_dc × Y₀₀, Y₀₀ = 0.28209479177387814
    assert [0.5 + 0.28209479177387814 * first[f"f_dc_{i}"] for i in range(3)] == pytest.approx([1, 0.5, 0], abs=1e-6)
    vertices = trimesh.load(tmp_path / "s.ply").vertices
    assert np.asarray(vertices) == pytest.approx(np.array([[0.1, 0.2, 0.3], [0.0, -0.1, 0.0]]), abs=1e-6)


def test_points_are_the_opaque_centres(tmp_path: Path) -> None:
    assert write_points(tmp_path / "p.ply", three()) == 1
    cloud = trimesh.load(tmp_path / "p.ply")
    assert np.asarray(cloud.vertices) == pytest.approx(np.array([[0.1, 0.2, 0.3]]), abs=1e-6)
    assert np.asarray(cloud.visual.vertex_colors)[0, :3].tolist() == [255, 128, 0]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/s\.ply"):
        write_splats(tmp_path / "nowhere" / "s.ply", three())


def test_a_turntable_goes_once_around(tmp_path: Path) -> None:
    camera = torch.from_numpy(orbit_cameras(1, 64))[0]
    write_turntable(tmp_path / "t.gif", three(), camera)
    with Image.open(tmp_path / "t.gif") as gif:
        assert (gif.size, gif.n_frames) == ((192, 192), 48)  # type: ignore[attr-defined]
        frames = []
        for i in (0, 24):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    dark = [np.argwhere(frame.sum(2) < 600).mean(0) for frame in frames]
    assert abs(dark[0] - dark[1]).max() > 5  # seen from behind, what was on one side is on the other


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_reconstructor(Reconstructor(ReconstructorConfig(widths=(8, 16, 24), blocks=1)), file, {})
    return file


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def orbit(side: int) -> list[Camera]:
    return rig("orbit8").cameras(side)[::2]


def test_an_object_of_a_corpus_comes_out(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_corpus, "cameras", orbit)
    view_corpus.make_view_corpus(tmp_path / "corpus", assets=1)
    found = run("reconstruct", tmp_path / "corpus", uid_of(0), "-o", tmp_path / "out", "--weights", weights)
    assert found.exit_code == 0, found.output
    names = {"splats.ply", "points.ply", "turntable.gif", "sheet.png", "cameras.json", "view_00.png", "view_03.png"}
    assert names <= {path.name for path in (tmp_path / "out").iterdir()}
    (tmp_path / "file").write_bytes(b"")
    found = run("reconstruct", tmp_path / "corpus", uid_of(0), "-o", tmp_path / "file" / "out", "--weights", weights)
    assert found.exit_code in (1, 2)
    assert found.output.startswith("error: ")
    assert "file" in found.output
    assert found.output.count("\n") == 1


def test_a_uid_may_be_shortened_as_for_inspect(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_corpus, "cameras", orbit)
    corpus, nearest = view_corpus.make_view_corpus(tmp_path / "corpus", assets=5), uid_of(4)
    assert [uid_of(n)[0] for n in range(5)] == ["5", "6", "d", "4", "4"]
    for n, word in enumerate((uid_of(2), "D")):
        found = run("reconstruct", corpus.url, word, "-o", tmp_path / str(n), "--weights", weights)
        assert found.exit_code == 0, found.output
    made = [(tmp_path / str(n) / "splats.ply").read_bytes() for n in range(2)]
    assert made[0] == made[1]
    wrong = nearest[:-1] + ("0" if nearest[-1] != "0" else "1")
    for word, why in (("4", "several assets begin with '4'"), (wrong, f"no asset '{wrong}'; the nearest is {nearest}")):
        found = run("reconstruct", corpus.url, word, "-o", tmp_path / "out", "--weights", weights)
        assert found.exit_code == 2 and why in found.output, found.output
        assert found.output == run("inspect", corpus.url, word).output


def test_what_cannot_be_reconstructed_is_said_in_a_line(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view_corpus.make_view_corpus(tmp_path / "corpus", assets=1)  # whose fourth view is orthographic

    def refused(*words: str | Path, corpus: Path = tmp_path / "corpus") -> str:
        found = run("reconstruct", corpus, *words, "-o", tmp_path / "out")
        assert found.exit_code == 2, found.output
        assert found.output.count("\n") == 1
        return found.output

    assert "view 3 is orthographic" in refused(uid_of(0), "--weights", weights)
    assert "no asset" in refused("f" * 32, "--weights", weights)
    assert "there is no view 4" in refused(uid_of(0), "--weights", weights, "--first", "4")
    assert "there is no file" in refused(uid_of(0), "--weights", tmp_path / "none.safetensors")
    monkeypatch.setattr(view_corpus, "cameras", lambda side: [*orbit(side)[:3], away(orbit(side)[3])])
    view_corpus.make_view_corpus(tmp_path / "away", assets=1)
    assert "view 3's camera does not look" in refused(uid_of(0), "--weights", weights, corpus=tmp_path / "away")


def test_a_fit_that_cannot_be_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_corpus, "cameras", orbit)
    view_corpus.make_view_corpus(tmp_path / "corpus", assets=12)
    for words, line in (
        (("-o", tmp_path / "w.safetensors"), "needs more than 4 views per object, the corpus has 4"),
        (("-o", tmp_path / "w.pt"), "written as .safetensors, not as 'w.pt'"),
    ):
        found = run("reconstructor", "fit", tmp_path / "corpus", *words)
        assert found.exit_code == 2, found.output
        assert line in found.output
        assert found.output.count("\n") == 1


def away(camera: Camera) -> Camera:
    """The same place, looking backwards."""
    c2w = np.array(camera.c2w)
    c2w[:3, [0, 2]] *= -1
    return replace(camera, c2w=c2w.tolist())
