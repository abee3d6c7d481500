"""Workflows: the parts joined, as commands walk them."""
