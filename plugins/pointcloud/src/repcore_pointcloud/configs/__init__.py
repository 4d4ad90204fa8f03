"""Settings of every part: frozen dataclasses, standard library only."""
