"""Dual-tracer PET scans of simulated subjects: kinetics, phantoms, noise, studies."""
