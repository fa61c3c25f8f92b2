"""Which of many candidates become the levels of a sequence."""

from __future__ import annotations

import numpy as np

from oodml.split.problem import Candidate


def choose_levels(candidates: list[Candidate], levels: int) -> list[Candidate]:
    """The candidates nearest to `levels` even targets between the smallest and the largest shift.

    They are strictly increasing; where two targets have the same nearest candidate, or candidates
    are equally far apart, there are fewer levels.
    """
    shifts = np.array([candidate.shift for candidate in candidates])
    targets = np.linspace(shifts.min(), shifts.max(), levels)
    nearest = np.abs(shifts[None, :] - targets[:, None]).argmin(axis=1)
    chosen: list[Candidate] = []
    for index in dict.fromkeys(nearest.tolist()):
        # Two levels closer than the precision of a split file would be one.
        if not chosen or shifts[index] > chosen[-1].shift * (1 + 1e-6):
            chosen.append(candidates[index])
    return chosen
