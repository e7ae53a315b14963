"""Runs as documents: closed, complete, and complete again when one of their files was done again."""
