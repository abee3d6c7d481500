"""The words of the domain: tracer, protocol, errors, configuration. No torch, no storage."""
