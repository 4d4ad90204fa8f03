"""Random views of recordings for objectives of any kind."""
