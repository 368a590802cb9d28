"""What a study says of spectra: labels with intervals, how odd they are, when to distrust it."""
