"""Which four views are reconstructed from, and whether their cameras are such that it can be done."""

import math

import torch
from torch import Tensor

from dataengine.errors import UsageError

VIEWS = 4
WHITE = (255, 255, 255)
_ASTRAY = 0.05
"""How far a camera's axis may pass the origin, in world units; the object's sphere has radius 0.5."""


def azimuths(c2w: Tensor) -> Tensor:
    """(…, 4, 4) → (…) radians, counter-clockwise from above."""
    return torch.atan2(c2w[..., 1, 3], c2w[..., 0, 3])


def four_around(c2w: Tensor, first: int = 0) -> list[int]:
    """The first view, and of the others those nearest to 90, 180 and 270 degrees round from it, no one twice.

    Args:
        c2w: (V, 4, 4) of one object.
        first: which view to begin with.

    Raises:
        UsageError: if there are fewer than four.
    """
    if len(c2w) < VIEWS:
        raise UsageError(f"reconstruction needs {VIEWS} views, there {'is' if len(c2w) == 1 else 'are'} {len(c2w)}")
    angle = azimuths(c2w)
    chosen = [first]
    for quarter in range(1, VIEWS):
        off = angle - angle[first] - quarter * math.pi / 2
        off = torch.atan2(off.sin(), off.cos()).abs()
        off[chosen] = torch.inf
        chosen.append(int(off.argmin()))
    return chosen


def draw_four(c2w: Tensor, random: torch.Generator, any_share: float = 0.2) -> Tensor:
    """(B, V, 4, 4) → (B, 4): around from a random view, or for a share of the objects any four."""
    rows = []
    for poses in c2w.cpu():
        if torch.rand((), generator=random) < any_share:
            rows.append(torch.randperm(len(poses), generator=random)[:VIEWS].tolist())
        else:
            rows.append(four_around(poses, int(torch.randint(len(poses), (), generator=random))))
    return torch.tensor(rows, device=c2w.device)


def check_background(background: tuple[int, int, int]) -> None:
    """Raises UsageError if views over that colour are not what the network was trained on."""
    if background != WHITE:
        raise UsageError(f"reconstruction takes views over white, the run's are over {background}")


def check_cameras(c2w: Tensor, orthographic: Tensor | None = None) -> None:
    """Raises UsageError for cameras (V, 4, 4) that the network was not made for.

    Args:
        orthographic: (V,) bool.
    """
    if orthographic is not None and bool(orthographic.any()):
        which = int(orthographic.float().argmax())
        raise UsageError(f"view {which} is orthographic: reconstruction takes perspective views only")
    if not bool(c2w.isfinite().all()):
        raise UsageError("a camera's pose is not finite: reconstruction needs views with cameras")
    origin, axis = c2w[:, :3, 3], c2w[:, :3, 2]
    past = (origin - (origin * axis).sum(-1, keepdim=True) * axis).norm(dim=-1)
    astray = (past > _ASTRAY) | ((origin * axis).sum(-1) >= 0)
    if bool(astray.any()):
        which = int(astray.float().argmax())
        if float((origin * axis).sum(-1)[which]) >= 0:
            raise UsageError(f"view {which}'s camera does not look at the object but away from it")
        raise UsageError(
            f"view {which}'s camera does not look at the object: its axis passes the origin at "
            f"{float(past[which]):.2f} world units (at most {_ASTRAY} is taken)"
        )
