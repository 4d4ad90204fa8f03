"""Op ``pointcloud/group-maximum``: the last layer of a shared network and the maximum over each group. ``torch``
defines it, ``tiles`` is the fast CPU twin.
"""
