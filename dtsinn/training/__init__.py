"""One training run: losses, loop, checkpoints."""
