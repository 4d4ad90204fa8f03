"""Commands under repcore audio."""
