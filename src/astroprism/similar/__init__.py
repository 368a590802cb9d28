"""The spectra most like one: what a distance is, and how the nearest are found."""
