"""Estimators: fitted on the features of a frozen model, saved in a folder of their own, applied to new rows."""
