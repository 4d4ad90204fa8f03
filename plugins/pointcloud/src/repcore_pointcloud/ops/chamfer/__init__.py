"""Op ``pointcloud/chamfer``: mean squared distance to the nearest point of the other set, both ways."""
