"""The separator package: how a trained network travels and is used."""
