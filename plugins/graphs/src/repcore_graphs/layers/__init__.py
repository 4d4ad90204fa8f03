"""Modules built from the operations: convolutions, pooling, readouts."""
