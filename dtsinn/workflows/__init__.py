"""Workflows: the parts joined."""
