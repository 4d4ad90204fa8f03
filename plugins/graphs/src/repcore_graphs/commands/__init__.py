"""Commands of the plugin's own."""
