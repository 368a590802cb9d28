"""What codes, labels and lines share: measures on plain arrays, without a network (and without torch).

evidence    columns as arrays, rows that count (finite, one per target), ranks
spacing     entropies by spacing, and the information that a sampled code carries
neighbours  local terms of the nearest-neighbour estimators
nulls       equal-count bins, what chance alone puts into them, p-values
mutual      mutual information of two columns, with interval and p
conditional the same beyond other columns, copies among them
axes        the directions among codes along which they are least dependent
disentanglement  DCI, MIG, SAP, InfoMEC, MCC: how single nodes are, by the field's own measures
count       how many causes there are, by two methods
match       nodes with labels and header keywords, under one false-discovery rate
readout     labels from codes and codes from labels, on targets set aside
together    what a set of nodes tells of a label
lines       a node's derivative against lines of atoms and of the atmosphere
dossier     what is known of a node that no label explains
stability   which nodes come back in a retraining
embedding   all of it for codes from elsewhere
binned      the seed paper's estimate
probe       labels of new spectra, with calibrated intervals

docs/design/measures.md says how each quantity is estimated, and what was measured of it.
"""

from __future__ import annotations

from .conditional import conditional_mutual_information
from .evidence import EvidenceError
from .mutual import MutualInformation, mutual_information
from .nulls import screened_information
from .spacing import CodeInformation, code_information, sampled_codes, spacing_entropy

__all__ = [
    "CodeInformation",
    "EvidenceError",
    "MutualInformation",
    "code_information",
    "conditional_mutual_information",
    "mutual_information",
    "sampled_codes",
    "screened_information",
    "spacing_entropy",
]
