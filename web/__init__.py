"""The dashboard: what the database says of the chain, as pages for browsers."""
