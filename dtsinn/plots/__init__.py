"""Plots: figures and pages, and what all of them share."""
