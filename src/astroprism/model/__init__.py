"""From a store to a trained model, and from a model to codes.

Read recipe -> objective -> loop -> fit to understand a training; docs/design/training.md is that walk.

    recipe      what changes with the step and when; the user's options
    data        spectra as batches of tensors
    loss        likelihood, KL, blur; the bound of pruning
    objective   what one step computes
    response    the smooth response that spectra are divided by
    noise       errors as learned
    velocity    shifts by cross-correlation: the template, and spectra on the wrong line
    nodes       what nodes do, pruning, giving back
    gauge       one zero of velocity for all kinds of star, once training is over
    loop        the steps, checks, setbacks, snapshots
    fit         `train`: store and options to a model folder
    checkpoint  models and unfinished trainings on disk; history  the table of a training
    trained     TrainedModel: encode and decode
    encode      tables of codes
"""
