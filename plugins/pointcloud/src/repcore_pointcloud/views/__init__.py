"""Training views of scenes."""
