"""How fast the suite is: measured side by side with the original's pattern, a floor, and task queues."""
