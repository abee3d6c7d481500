"""Non-negative least squares of many right-hand sides at once.

The active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23) on
the normal equations (Bro and de Jong, J. Chemometrics 11:393, 1997). All right-hand sides take
their steps together, and those that share a set of positive unknowns share its inverse (after
van Benthem and Keenan, J. Chemometrics 18:441, 2004).

Shape letters: V right-hand side, J unknown, U distinct set, P place in a set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import RunError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TOLERANCE = 1e-9
"""Gradient, relative to the largest of its right-hand side, that counts as zero (uncited)."""
STEPS_PER_UNKNOWN = 30
"""Steps allowed for each unknown; about one or two are usual (uncited)."""


def non_negative(gram_JJ: FloatArray, right_VJ: FloatArray) -> FloatArray:
    """The x >= 0 that minimise ``x gram x / 2 - right x``, for every right-hand side.

    With a design A and data d, ``gram`` is A'A and ``right`` is A'd: x then minimises |A x - d|.

    Args:
        gram_JJ: Symmetric, with a positive diagonal.
        right_VJ: Right-hand sides.

    Returns:
        x [V, J], at least 0.

    Raises:
        RunError: It does not end, which only a gram of rank below machine precision could do.
    """
    length_J = np.sqrt(np.diag(gram_JJ))
    gram_JJ = gram_JJ / np.outer(length_J, length_J)  # columns of length 1: better conditioned
    right_VJ = right_VJ / length_J
    x_VJ = np.zeros_like(right_VJ)
    positive_VJ = np.zeros(right_VJ.shape, dtype=bool)
    least_V = TOLERANCE * np.abs(right_VJ).max(axis=1, initial=0.0)
    feasible_V = np.ones(len(right_VJ), dtype=bool)
    open_V = np.arange(len(right_VJ))
    for _ in range(STEPS_PER_UNKNOWN * len(gram_JJ)):
        ready = open_V[feasible_V[open_V]]
        ended = _admit(gram_JJ, right_VJ, x_VJ, positive_VJ, ready, least_V)
        open_V = np.setdiff1d(open_V, ended, assume_unique=True)
        if len(open_V) == 0:
            return np.asarray(x_VJ / length_J)
        wanted = _solve(gram_JJ, right_VJ[open_V], positive_VJ[open_V])
        x, positive, feasible = _step(x_VJ[open_V], wanted, positive_VJ[open_V])
        x_VJ[open_V], positive_VJ[open_V], feasible_V[open_V] = x, positive, feasible
    raise RunError(f"non-negative least squares: {len(open_V)} right-hand sides do not end")


def _admit(
    gram_JJ: FloatArray,
    right_VJ: FloatArray,
    x_VJ: FloatArray,
    positive_VJ: BoolArray,
    ready: npt.NDArray[np.intp],
    least_V: FloatArray,
) -> npt.NDArray[np.intp]:
    """Let each of ``ready`` have one more positive unknown; returns those that need none."""
    descent_VJ = right_VJ[ready] - x_VJ[ready] @ gram_JJ
    descent_VJ[positive_VJ[ready]] = -np.inf
    steepest = descent_VJ.argmax(axis=1)
    gains = descent_VJ[np.arange(len(ready)), steepest] > least_V[ready]
    positive_VJ[ready[gains], steepest[gains]] = True
    return np.asarray(ready[~gains])


def _solve(gram_JJ: FloatArray, right_VJ: FloatArray, positive_VJ: BoolArray) -> FloatArray:
    """[V, J] the unconstrained optimum over each right-hand side's set, 0 outside of it."""
    bits_J = np.int64(1) << np.arange(len(gram_JJ))
    _, first, set_of = np.unique(positive_VJ @ bits_J, return_index=True, return_inverse=True)
    sets_UJ = positive_VJ[first]
    places = int(sets_UJ.sum(axis=1).max())
    # The members of a set first, so that matrices are as small as the largest set.
    member_UP = np.argsort(~sets_UJ, axis=1, kind="stable")[:, :places]
    inside_UP = np.take_along_axis(sets_UJ, member_UP, axis=1)
    both_UPP = inside_UP[:, :, None] & inside_UP[:, None, :]
    block_UPP = np.where(both_UPP, gram_JJ[member_UP[:, :, None], member_UP[:, None, :]], 0.0)
    block_UPP += np.eye(places) * ~inside_UP[:, None, :]
    inverse_UPP = np.where(both_UPP, np.linalg.inv(block_UPP), 0.0)
    member_VP = member_UP[set_of]
    right_VP = np.take_along_axis(right_VJ, member_VP, axis=1)
    wanted_VP = np.matmul(inverse_UPP[set_of], right_VP[:, :, None])[:, :, 0]
    wanted_VJ = np.zeros_like(right_VJ)
    np.put_along_axis(wanted_VJ, member_VP, wanted_VP, axis=1)
    return wanted_VJ


def _step(
    x_VJ: FloatArray, wanted_VJ: FloatArray, positive_VJ: BoolArray
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Go towards what is wanted until an unknown reaches 0, which then leaves the set.

    Returns:
        The new x, the new sets, and whether all of the way was gone.
    """
    negative_VJ = positive_VJ & (wanted_VJ <= 0)
    share_VJ = np.full_like(x_VJ, np.inf)
    np.divide(x_VJ, x_VJ - wanted_VJ, out=share_VJ, where=negative_VJ & (x_VJ > 0))
    share_VJ[negative_VJ & (x_VJ <= 0)] = 0.0
    share_V1 = np.minimum(share_VJ.min(axis=1, keepdims=True), 1.0)
    left_VJ = positive_VJ & ~(negative_VJ & (share_VJ <= share_V1))
    x_VJ = np.where(left_VJ, x_VJ + share_V1 * (wanted_VJ - x_VJ), 0.0)
    return x_VJ, left_VJ, np.asarray(~negative_VJ.any(axis=1))
