"""Ragged point sets with two views, an EMA teacher, a queue, dropout and BatchNorm: the hard cases in small."""
