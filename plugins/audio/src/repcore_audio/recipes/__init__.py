"""Complete audio runs by preset; imports configs and repcore.config only."""
