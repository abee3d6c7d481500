"""Explains a search from its event log alone: what mattered, what it cost, and what to doubt."""
