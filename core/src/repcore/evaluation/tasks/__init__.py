"""Item-level tasks for supervised fine-tuning: heads (``heads.py``), settings (``configs.py``) and the three kinds of
target (``item.py``)."""
