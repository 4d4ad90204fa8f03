"""Op ``selective-scan``: the state-space recurrence of Mamba, several scans of a batch at once.

``torch`` defines it, ``chunked`` is the fast CPU twin, ``triton`` the GPU twin, ``mamba_ssm`` an optional adapter.
"""
