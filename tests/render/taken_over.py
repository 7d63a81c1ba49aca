"""A Blender whose `bpy` is false and runs the asset as Python: what code of a stranger in it could do."""

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure
from dataengine.render.confinement import Sandbox
from dataengine.render.pool import BlenderPool
from tests.render.models import request

DONE = "the script is done"
TOLD = "told: "
TELL = f"""
import base64, json
told = base64.b64encode(json.dumps(globals().get("result")).encode()).decode()
for at in range(0, len(told), 400):
    print({TOLD!r} + told[at : at + 400], flush=True)
"""
FALSE_BPY = """
import sys, types
from types import SimpleNamespace

def render_asset(request):
    from blender.protocol import RenderReply
    scope = {"request": request, "RenderReply": RenderReply, "__name__": "asset"}
    exec(compile(open(request.path).read(), request.path, "exec"), scope)
    return scope.get("reply") or RenderReply()

app = SimpleNamespace(version_string="4.5.0 (false)")
ops = SimpleNamespace(wm=SimpleNamespace(read_factory_settings=lambda use_empty: None))
context = SimpleNamespace(preferences=SimpleNamespace(filepaths=SimpleNamespace()))
sys.modules["blender.asset"] = types.ModuleType("blender.asset")
sys.modules["blender.asset"].render_asset = render_asset
sys.modules["blender.asset"].load_asset = lambda request: None
"""


@contextmanager
def taken_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None, sandbox: Sandbox = "kernel"
) -> Iterator[BlenderPool]:
    """A pool of one such Blender, which may read `folder/assets`."""
    for name in ("false", "assets"):
        (folder / name).mkdir()
    (folder / "false" / "bpy.py").write_text(FALSE_BPY)
    monkeypatch.setenv("PYTHONPATH", str(folder / "false"))
    with BlenderPool(limits or Limits(wall_seconds=60), readable=[folder / "assets"], sandbox=sandbox) as pool:
        yield pool


def run(pool: BlenderPool, folder: Path, code: str, **values: Any) -> Any:
    """Runs `code` in the child, with `values` as names; returns what it put into `result`, by way of the log."""
    script = folder / "assets" / "script.glb"
    head = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    script.write_text(f"{head}{code}{TELL}reply = RenderReply(error='EMPTY_SCENE', message={DONE!r})\n")
    with pytest.raises(AssetFailure, match=DONE) as failure:
        pool.render(request(script))
    pieces = [line.removeprefix(TOLD) for line in (failure.value.log or "").splitlines() if line.startswith(TOLD)]
    return json.loads(base64.b64decode("".join(pieces)))


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
