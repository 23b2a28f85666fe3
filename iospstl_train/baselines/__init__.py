"""Imputers of other kinds that a benchmark compares with; no robot runs them."""
