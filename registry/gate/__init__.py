"""The gate: what a separator must show before it becomes the champion."""
