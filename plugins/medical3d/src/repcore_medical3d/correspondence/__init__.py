"""Which place of one scan is which place of another, always in millimetres of the world."""
