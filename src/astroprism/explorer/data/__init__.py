"""What the pages of the explorer show: columns, curves, codes, spectra; no web server in it."""
