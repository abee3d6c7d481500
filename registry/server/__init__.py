"""MLflow for one person and for a team: served, guarded, owned."""
