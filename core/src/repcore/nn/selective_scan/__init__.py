"""Op ``selective-scan``: the state-space recurrence of Mamba, several scans of a batch at once.

``torch`` defines it, ``compiled`` is the CPU twin, ``chunked`` that without numba, ``triton`` the GPU twin,
``mamba_ssm`` an optional adapter.
"""
