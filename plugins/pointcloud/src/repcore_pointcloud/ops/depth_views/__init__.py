"""Op ``pointcloud/depth-views``: three axis-aligned depth images of every cloud, and the pixel of every point."""
