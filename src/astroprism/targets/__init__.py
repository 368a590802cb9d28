"""Whose a spectrum is: which spectra are one star, which row of a table is whose, who is held out."""
