"""Label-free training objectives of this plugin."""
