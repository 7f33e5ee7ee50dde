"""Data: standardization."""
