"""What masked point modelling saw, hid and redrew, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repcore.interfaces import Picture
from repcore_pointcloud.rendering.shapes import side_by_side, turntable

if TYPE_CHECKING:
    from torch import Tensor

    from repcore.interfaces import Draws
    from repcore_pointcloud.objectives.i2p_mae import MaskedPoints

SIZE = 180  # a page carries six rows of four
VISIBLE, REDRAWN = 0, 1  # hues


def masked_picture(objective: MaskedPoints, points: Tensor, draws: Draws, name: str) -> Picture:
    """Cloud, visible neighbourhoods, and these with the redrawn hidden ones.

    Args:
        objective: in eval mode.
        points: (1, N, 3), one cloud.
        draws: as from ``objective.draw``; augmentation in it is left out.
        name: of the cloud.
    """
    import torch

    with torch.no_grad():
        hierarchy = objective.encoder.grouping(points)
        visible = objective.visible_coarse(hierarchy, objective.guide(hierarchy), draws)
        done = objective.run_masked(hierarchy, visible)
        middle = hierarchy.levels[1]
        shown = done.visible[1][0]
        members = objective.encoder.grouping.neighbourhoods(hierarchy, 1)[0] + middle.centres[0][:, None]
        redrawn = objective.drawn_points(done) + middle.centres[0][~shown][:, None]
    seen, hidden, new = (one.reshape(-1, 3).cpu().numpy() for one in (members[shown], members[~shown], redrawn))
    hues = torch.cat([torch.full((len(seen),), VISIBLE), torch.full((len(new),), REDRAWN)]).numpy()
    both = torch.cat([torch.from_numpy(seen), torch.from_numpy(new)]).numpy()
    radius = float(points.norm(dim=2).max())

    def view(cloud: object, words: str, hue: object = None) -> Picture:
        return turntable(cloud, alt=f"{name}, {words}", hue=hue, size=SIZE, radius=radius)  # type: ignore[arg-type]

    share = f"{int(shown.sum())} of {len(shown)} middle tokens"
    return side_by_side(
        [
            ("cloud", view(points[0].cpu().numpy(), "the cloud")),
            ("visible", view(seen, f"visible: {share}")),
            ("hidden", view(hidden, "hidden neighbourhoods")),
            ("redrawn", view(both, "visible in blue, redrawn in orange", hues)),
        ]
    )
