"""Targets: which spectra are of one star, which table rows belong to it, and how targets are split."""
