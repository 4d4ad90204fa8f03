"""Audio encoders: patches, state-space blocks, and the published stack."""
