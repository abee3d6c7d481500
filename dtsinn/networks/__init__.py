"""Networks that separate a mixture into two tracer sequences."""
