"""Frozen data that everyone shares: no I/O, no clock, no randomness."""
