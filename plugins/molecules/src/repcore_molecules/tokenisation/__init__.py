"""SELFIES text to token ids: vocabularies, the symbol tokeniser, and the published byte-pair modes."""
