"""Network blocks that at least two domains need: transformer layers, packing, teachers,
heads, masks, positions, losses.

One small file a block; plugins import the file they need. Nothing here knows paths, configuration or logging.
"""
