"""A training item of a labelled scene: a random look at the part around a labelled point.

Symbols: N points of the file, M thinned points, W of the look, V voxels, n labelled points inside the look.
"""

from __future__ import annotations

import numpy as np

from repcore.interfaces import Item, Sample
from repcore_pointcloud.configs.scenes import ScenePairConfig
from repcore_pointcloud.preprocessors.scene import ScenePreprocessor
from repcore_pointcloud.views.scene_pair import ScenePair

LOOK = ScenePairConfig(crop_share=(0.8, 1.0), scale=(0.9, 1.1), drop_share=0.0)
"""Nearly all of a window, since small parts lack most classes; any turn about the vertical."""


def labelled_look(preprocessor: ScenePreprocessor, sample: Sample, generator: np.random.Generator) -> Item:
    """One item whose elements are the labelled points inside it.

    Args:
        sample: with labels of points (N,), NaN = none; without any, the look is somewhere.

    Raises:
        ItemError: the scene cannot be used.
    """
    scene, views = preprocessor.geometry(sample), ScenePair(LOOK, preprocessor)
    labels = {name: np.asarray(one) for name, one in sample.targets.items() if np.ndim(one) == 1}
    known = scene.source >= 0
    if labels:
        known &= np.any([np.isfinite(one) for one in labels.values()], axis=0)
    asked = np.flatnonzero(known)
    centre = int(scene.source[generator.choice(asked)]) if len(asked) else int(generator.integers(len(scene.points)))
    rows, points, features = views.look(scene, views.window(scene, centre), generator)
    values = preprocessor.voxels(points, features, scene.region[rows])
    voxel_of = values.pop("voxel_of")
    place = np.full(len(scene.points), -1, np.int64)
    place[rows] = np.arange(len(rows))
    inside = asked[place[scene.source[asked]] >= 0]
    values["source"] = voxel_of[place[scene.source[inside]]].astype(np.int64)
    values["foreground"] = scene.foreground
    meta = {"voxels": len(values["coordinates"])}
    return Item({**values, "labels": {name: one[inside] for name, one in labels.items()}}, meta)
