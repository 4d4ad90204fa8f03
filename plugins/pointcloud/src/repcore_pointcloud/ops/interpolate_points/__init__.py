"""Op ``pointcloud/interpolate-points``: values of known points carried to other points by inverse squared distance."""
