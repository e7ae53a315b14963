"""What goes wrong between a listener and its database, made to happen, and what must come of it."""
