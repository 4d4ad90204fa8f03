"""Label-free regions of a scene: normals, over-segmentation, and the rule for foreground; NumPy, once a scene."""
