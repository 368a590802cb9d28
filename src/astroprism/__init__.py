"""Takes an archive of stellar spectra apart into its independent causes, without labels."""

__version__ = "0.1.0"
