"""The engine: one driver decides and writes; Ray's workers train."""
