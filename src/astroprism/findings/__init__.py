"""How many causes there are, what each one is, and which nothing explains.

Measures on plain arrays (counting, match, lines, readout, dossier ...), the evidence that a model gives
(effects, response, retraining), and `find`, which puts them together.
"""
