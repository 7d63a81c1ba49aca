"""One asset on its way out: its views, decoded where a layout asks for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dataengine.errors import UsageError
from dataengine.render.blender.protocol import Camera
from dataengine.render.decode import decode
from dataengine.render.views import parse_cameras, view_stem

Float = npt.NDArray[np.float64]

# OpenCV's camera looks along +z with y down; OpenGL's, NeRF's and Blender's along -z with y up.
FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class ExportAsset:
    """An asset's views.

    Attributes:
        uid, sha256, caption: of the plan's row; sha256 is the main file's, None where it is not known.
        members: {extension: content} of its sample in the tar.
        layout: the layout's name, for messages.
    """

    uid: str
    sha256: str | None
    caption: str | None
    members: Mapping[str, bytes]
    layout: str

    @cached_property
    def header(self) -> dict[str, Any]:
        """The content of cameras.json."""
        return dict(decode("cameras.json", self.members["cameras.json"]))

    @cached_property
    def cameras(self) -> list[Camera]:
        return parse_cameras(self.members["cameras.json"])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.header["width"]), int(self.header["height"])

    def name(self, view: int, channel: str) -> str:
        """A member's name, such as `03.normal.png`."""
        return f"{view_stem(view, len(self.cameras))}.{channel}.png"

    def png(self, view: int, channel: str) -> bytes:
        """A member as it is stored.

        Raises:
            UsageError: if the views do not have that channel.
        """
        name = self.name(view, channel)
        if name not in self.members:
            raise UsageError(
                f"the {self.layout} layout needs {channel}, which the views of {self.uid} do not have: "
                f"plan a set with --channels {channel}"
            )
        return self.members[name]

    def has(self, channel: str) -> bool:
        return self.name(0, channel) in self.members

    def decoded(self, view: int, channel: str) -> npt.NDArray[Any]:
        """A channel of a view as `dataengine.decode` gives it. Raises as `png`."""
        content = {"cameras.json": self.members["cameras.json"], self.name(view, channel): self.png(view, channel)}
        return np.asarray(decode(content)[self.name(view, channel)])

    def c2w(self, view: int, axes: str = "opencv") -> Float:
        """(4, 4) camera to world, in the normalised z-up world; axes 'opencv' or 'opengl'."""
        matrix = np.array(self.cameras[view].c2w)
        return matrix if axes == "opencv" else matrix @ FLIP_YZ

    def w2c(self, view: int, axes: str = "opencv") -> Float:
        """(3, 4) world to camera: the rigid inverse of `c2w`."""
        matrix = self.c2w(view, axes)
        rotation, position = matrix[:3, :3].T, matrix[:3, 3]
        return np.hstack([rotation, -(rotation @ position)[:, None]])

    def angle_x(self, view: int) -> float:
        """Horizontal field of view in radians."""
        return float(2 * np.arctan(self.size[0] / 2 / self.cameras[view].K[0][0]))

    def check_perspective(self) -> None:
        """Raises UsageError if a view is orthographic, which a layout's readers cannot express."""
        if any(camera.orthographic for camera in self.cameras):
            raise UsageError(f"the {self.layout} layout has no orthographic cameras, and the views of {self.uid} are")


def plain(matrix: Float) -> list[list[float]]:
    """A matrix for JSON. Adding zero turns the -0.0 that a flip leaves behind into 0.0."""
    return [[float(x) + 0.0 for x in row] for row in matrix]
