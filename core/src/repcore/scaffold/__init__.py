"""``repcore new-plugin``: the templates of a new plugin and the generator that fills them in."""
