"""repcore from Python: train, fine-tune, probe, fit estimators and import published weights, as the commands do."""
