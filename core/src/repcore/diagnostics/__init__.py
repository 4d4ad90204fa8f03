"""Does it learn or collapse: figures of a feature matrix (``metrics.py``), the verdict line relative to step 0
(``verdict.py``), and what is kept when a run meets NaN or Inf (``capture.py``)."""
