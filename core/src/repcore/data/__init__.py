"""Data without a domain: tables, batches, the endless training stream, splits, cached preparation, inspection."""
