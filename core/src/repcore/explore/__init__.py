"""Looking into embeddings: indexes and search, models side by side, audits of data, pages with the items drawn."""

LAYOUTS = ("auto", "pca", "tsne", "umap")
"""Maps that can be asked for; here, where asking costs no import."""
