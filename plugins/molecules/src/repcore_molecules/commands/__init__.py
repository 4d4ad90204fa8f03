"""Commands of the molecules domain: tokenize and doctor."""
