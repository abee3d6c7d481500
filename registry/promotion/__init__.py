"""Promotion: the gate decides, aliases move in one transaction."""
