"""Event sourcing with a transactional outbox: event log, outbox, and the lock of the one writer."""
