"""Complete runs by name and preset."""
