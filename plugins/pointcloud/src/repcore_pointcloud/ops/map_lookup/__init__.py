"""Op ``pointcloud/map-lookup``: coarse feature maps read at pixels of the full image by bicubic interpolation, without
the full-size maps. ``torch`` defines it, ``taps`` is the fast CPU twin, ``triton`` the GPU twin.
"""
