"""The search's own events, and the state that they add up to."""
