"""NIfTI images with PET-BIDS sidecars, as scans."""
