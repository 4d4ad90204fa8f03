"""Golden folders: reading them, comparing what a replay computes, and counting stages due, run and passed."""
