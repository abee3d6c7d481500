"""Importers: foreign and real data, brought into a store."""
