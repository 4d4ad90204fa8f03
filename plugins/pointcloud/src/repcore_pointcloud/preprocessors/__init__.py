"""From a cloud of any number of points to a batch."""
