"""Selecting documents and their files: for `list_files.py`, for notebooks."""
