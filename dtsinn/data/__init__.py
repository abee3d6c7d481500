"""The zarr store of samples and the ways in and out of it."""
