"""Tracking: runs in MLflow, wherever it keeps them."""
