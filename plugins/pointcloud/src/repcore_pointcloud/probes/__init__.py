"""Features of scenes as probes and pictures read them."""
