"""Two-dimensional models that guide the masking and give a second target."""
