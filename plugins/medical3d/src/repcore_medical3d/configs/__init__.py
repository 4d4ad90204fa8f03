"""Settings of every part; standard library only."""
