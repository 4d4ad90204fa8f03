"""Readers and preprocessing of images and volumes."""
