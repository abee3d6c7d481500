"""Benchmarks: of quality, reading, memory and speed; of searches, the gate and the server.

``python -m benchmarks NAME`` runs one of them and ``python -m benchmarks --help`` lists them;
``benchmarks/results`` keeps what they measured, ``docs/benchmarks.md`` says what it means.
"""
