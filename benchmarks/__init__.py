"""Benchmarks: against the published recipe and a plain network, of reading, of the round trip.

``python -m benchmarks`` runs them all; ``benchmarks/results`` keeps what they measured.
"""
