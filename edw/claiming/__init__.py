"""Whose a document is: claims and the results that end them, heartbeats, peers whose lease has ended."""
