import numpy as np

from dtsinn.core.seeds import generator


def test_the_same_place_draws_the_same_and_another_does_not() -> None:
    first = generator(3, "subject", 7).random(100)
    assert np.array_equal(first, generator(3, "subject", 7).random(100))
    for other in [(3, "subject", 8), (4, "subject", 7), (3, "Subject", 7)]:
        assert abs(np.corrcoef(first, generator(*other).random(100))[0, 1]) < 0.5
