"""Versioned probe protocols on frozen features, one file each; ``configs.py`` holds their constants and
``preparation.py`` what all of them do with labels and rows before fitting."""
