"""Network blocks: dilated convolutions, their kernels of several sizes, and poolings over time."""
