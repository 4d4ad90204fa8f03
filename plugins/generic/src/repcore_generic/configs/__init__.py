"""Settings: plain dataclasses, standard library only."""
