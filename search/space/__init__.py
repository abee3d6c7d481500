"""Search spaces: which configuration keys a search moves, over what, and at what cost."""
