"""The engine of a farm, by itself, beside the shortest program that sends the same messages."""
