"""Rows to a folder of parts: one function from rows to rows, called by one process or by the actors of a cluster."""
