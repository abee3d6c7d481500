"""Moving a registry: all that one MLflow holds, in another one, as often as it is asked for.

Nothing keeps its id: a run, a logged model, gets a new one from the MLflow that it is copied to.
So each copy carries a tag with the id that it had first (:mod:`.ids`), which is how it is found
again. Each thing is read on both sides, in words that do not depend on the place, sent where the
two are not the same, and read again: what a killed copy left behind is what the next one sends.
"""
