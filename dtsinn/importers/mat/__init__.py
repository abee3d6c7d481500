"""MATLAB files in the layout of the published code: plan, files, and the study that they make."""
