"""Scanners: counts, projection, reconstruction and noise."""
