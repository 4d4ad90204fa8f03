"""How good are frozen features, and supervised fine-tuning: versioned probe protocols (``probes/``), metrics, baselines
that are always shown beside a number (``protocol.py``), and item-level fine-tuning tasks (``tasks/``)."""
