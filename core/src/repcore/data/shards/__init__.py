"""Data in many files: folders of parquet files and tar archives, row by row through an index, from disk or afar."""
