"""Settings as frozen dataclasses, standard library only."""
