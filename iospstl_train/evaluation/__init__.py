"""Protocols, error measures, tables and pictures."""
