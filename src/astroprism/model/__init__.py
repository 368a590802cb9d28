"""From a store to a trained model, and from a model to codes.

The recipe says how training goes, the loop goes it, fitting is all around it that `train` does; nodes and
surgery look at what nodes do and prune them; codes, polished, are what `encode` writes.
"""
