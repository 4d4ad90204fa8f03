"""Files with an answer for every point, in the order of the input."""
