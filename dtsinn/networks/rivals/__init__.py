"""Rivals of the invertible separator: networks of the usual kinds, without an inverse."""
