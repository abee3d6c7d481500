"""Benchmarks: of quality, of reading, of the round trip, of memory, of the loss's terms.

``python -m benchmarks`` runs the shorter ones, ``python -m benchmarks.quality`` the long one;
``benchmarks/results`` keeps what they measured.
"""
