"""Sampling: what is tried next, and what is pruned."""
