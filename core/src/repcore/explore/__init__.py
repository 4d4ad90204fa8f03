"""Looking into embeddings: indexes and search, models side by side, audits of data, pages with the items drawn."""
