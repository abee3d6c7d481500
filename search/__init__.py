"""Hyperparameter search: Ray Tune runs, Optuna suggests, the driver records."""
