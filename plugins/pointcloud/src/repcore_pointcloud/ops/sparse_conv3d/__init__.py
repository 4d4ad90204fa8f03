"""Op ``pointcloud/sparse-conv3d``: convolution over active voxels only, with one plain definition and faster twins.

``sites.py`` finds neighbours, ``rulebook.py`` holds them, ``torch.py`` is the definition, ``stationary.py`` the same
without scatter, ``compiled.py`` over ``loops.py`` the CPU twin, ``triton.py`` the GPU twin, ``spconv.py`` the library,
``selection.py`` asks core which one to use.
"""
