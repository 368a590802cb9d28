"""What the pages of the explorer show, without a web server: columns, axes, curves, spectra, nodes."""
