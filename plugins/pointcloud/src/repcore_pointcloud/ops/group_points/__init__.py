"""Op ``pointcloud/group-points``: the values of every neighbourhood, relative to its centre on request."""
