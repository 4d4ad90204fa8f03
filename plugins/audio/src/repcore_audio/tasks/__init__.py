"""Supervised fine-tuning on sounds, with the published augmentation."""
