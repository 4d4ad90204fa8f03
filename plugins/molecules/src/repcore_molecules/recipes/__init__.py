"""Complete runs: SELFormer and SELFormer-Lite with their presets."""
