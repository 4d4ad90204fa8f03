"""SMILES in, checked and canonical SELFIES out, and what chemistry says about a molecule (scaffold, features)."""
