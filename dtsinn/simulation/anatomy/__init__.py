"""Anatomy: phantoms, and the shapes and fields that they are made of."""
