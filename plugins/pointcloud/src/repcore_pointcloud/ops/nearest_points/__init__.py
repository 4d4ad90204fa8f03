"""Op ``pointcloud/nearest-points``: exact nearest neighbours in a fixed order. ``torch`` defines it, ``blocks`` is the
fast CPU twin, ``triton`` the GPU twin.
"""
