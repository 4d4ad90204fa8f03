"""Methods of repcore that work with every encoder: label-free objectives, and estimators fitted on features."""
