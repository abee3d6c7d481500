"""Explains a search from its ledger alone: what mattered, what it cost, and what to doubt."""
