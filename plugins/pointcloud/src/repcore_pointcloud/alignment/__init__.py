"""One rigid motion between two clouds: matches of points, motions from matches, and how well a motion fits."""
