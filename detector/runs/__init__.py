"""The analysis of a run, of all its files together: `gains` calibrates them, `summary` filters them again."""
