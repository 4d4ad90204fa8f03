"""Settings of this plugin's parts: standard-library dataclasses only."""
