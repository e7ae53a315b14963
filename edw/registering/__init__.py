"""New documents for data files."""
