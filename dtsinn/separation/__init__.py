"""Separating a scan: one that was measured in, two scans and an honest word about them out.

The data flow: :mod:`.scan` opens the mixture, whose frames are held against the model's
(:mod:`dtsinn.importers.mixture_frames`), :mod:`.look` finds its body, :mod:`.run` separates it
slice by slice into files, :mod:`.verdict` judges the answer, :mod:`.tables`, :mod:`.bids` and
:mod:`.page` write what people read. :mod:`.separate` is the one function that joins them. Nothing
here needs torch.
"""
