"""How much one number tells about another, in nats: entropies, mutual information, and their nulls.

Plain arrays in, frozen results out; numpy and scipy only. docs/design/measures.md says what is estimated how,
and what was measured of it.

evidence    which rows count: finite ones, one a target; ranks with ties broken by a seed
spacing     entropies by spacing, and what a sampled code tells about its spectrum
neighbours  local terms of the nearest-neighbour estimators
nulls       equal-count bins, what chance alone puts into them, p-values and their control over a family
mutual      mutual information of two columns, alone or given others, with interval and p
"""

from __future__ import annotations

from .evidence import EvidenceError
from .mutual import MutualInformation, conditional_mutual_information, mutual_information
from .nulls import benjamini_hochberg, screened_information
from .spacing import CodeInformation, code_information, sampled_codes, spacing_entropy

__all__ = [
    "CodeInformation",
    "EvidenceError",
    "MutualInformation",
    "benjamini_hochberg",
    "code_information",
    "conditional_mutual_information",
    "mutual_information",
    "sampled_codes",
    "screened_information",
    "spacing_entropy",
]
