"""Building blocks that several encoders of this plugin use."""
