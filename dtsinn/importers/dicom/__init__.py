"""Dynamic PET series in DICOM: headers, clock, activity, and the scan that they make."""
