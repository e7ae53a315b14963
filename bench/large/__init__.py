"""A database with a large catalogue, beside an empty one."""
