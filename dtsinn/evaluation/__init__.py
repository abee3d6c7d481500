"""What a separator is worth: metrics, suites, reports."""
