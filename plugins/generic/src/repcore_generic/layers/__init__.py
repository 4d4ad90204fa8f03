"""Blocks that methods put into or beside an encoder."""
