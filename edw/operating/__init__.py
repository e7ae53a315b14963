"""What operators look at, and what they change."""
