"""What a trained network says about a study: how many causes, what each one is, and which nothing explains.

effects       what each node does to held-out spectra: switched off, permuted, differentiated
response      how nodes answer to physical changes of spectra
changes       these changes: a Doppler shift, rotation, a deeper atmosphere, a tilted continuum
intervention  whether moving a node makes the spectrum that the change makes
labels        what a label does in the data against what a node does in the decoder
folds         trainings without a fold of the units each, so that every spectrum gives evidence
retrain       trainings from other seeds on other halves of the targets
assemble      the evidence becomes findings.json and its tables
find          all of it, for a study

The measures themselves work on plain arrays and lie in `astroprism.measures`.
"""
