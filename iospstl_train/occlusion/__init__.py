"""Synthetic occlusion: which joints a camera would not have seen."""
