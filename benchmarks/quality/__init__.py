"""``quality``: every method gets the same search and the same seeds, on two sets of data.

``python -m benchmarks quality`` runs it; a second call goes on where the first one stopped.
Choices are made on the ``val`` subjects. The ``test`` subjects are scored once for each training
whose result is kept, by the job that trained it.
"""
