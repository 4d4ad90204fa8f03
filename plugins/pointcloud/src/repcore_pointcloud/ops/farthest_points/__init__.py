"""Op ``pointcloud/farthest-points``: an even choice of points, each the farthest from those chosen before it."""
