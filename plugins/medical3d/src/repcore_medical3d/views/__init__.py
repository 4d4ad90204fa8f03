"""Cutting views from images and volumes."""
