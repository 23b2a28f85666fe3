"""Readers (one file a format), the recording they all return, and the store."""
