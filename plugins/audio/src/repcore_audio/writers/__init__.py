"""Files with answers about the frames of a recording."""
