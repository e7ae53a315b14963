"""Simulated data acquisition of two germanium bolometers, and the analysis of their heat pulses.

Simulated: `pulses`, `noise`, and `acquisition`, which writes the data files. The analysis is a real one and takes
nothing from the simulation but the nominal pulse shapes and gains: `traces` reads a file, `template`,
`optimum_filter` and `calibration` are its parts, and `analysis` puts them together. `spectrum` and `spectrum_plot`
show what came out of it, over many files. The tabulated lines, which both need, are in `calibration`.
"""
