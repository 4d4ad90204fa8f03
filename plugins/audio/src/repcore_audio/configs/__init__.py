"""Settings of every audio part: frozen dataclasses, standard library only."""
