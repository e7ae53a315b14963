"""The parts of a listener, which `listener.py` puts together."""
