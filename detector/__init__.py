"""The simulated data acquisition of two germanium bolometers, and the analysis of their pulses.

The acquisition is a simulation and says so; the analysis is a real one, and knows nothing of the true energies.
"""
