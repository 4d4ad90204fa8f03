"""Complete runs with presets."""
