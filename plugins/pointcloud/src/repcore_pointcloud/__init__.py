"""Point clouds for repcore: I2P-MAE, a hierarchical masked autoencoder of shapes guided by a 2D model, and FAC,
contrast of regions in scenes.

Reading path: ``_plugin`` (what exists), ``configs`` (every setting), ``encoders/i2p_mae`` (how shapes are read),
``objectives/i2p_mae`` (how they are learned), ``ops`` (why no compiled extension is needed).
"""
