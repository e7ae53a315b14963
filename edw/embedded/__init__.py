"""The embedded server as seen from its start: whose login it has, who has its port, and what the scripts use."""
