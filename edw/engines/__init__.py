"""Where callbacks run: threads, or processes that can be ended."""
