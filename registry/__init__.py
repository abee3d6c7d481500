"""MLflow: tracking of runs, versions of models, promotion of champions."""

from dtsinn.registry.tracking import environment

environment.apply()  # MLflow reads its environment on import, so this comes before any module
