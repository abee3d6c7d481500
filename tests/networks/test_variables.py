"""Variable augmentations: shapes, linearity, and what each part means."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dtsinn.networks.variables import VARIABLE_AUGMENTATIONS


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", VARIABLE_AUGMENTATIONS)
def test_decoder_undoes_encoder(kind: str) -> None:
    variables = VARIABLE_AUGMENTATIONS[kind]
    m = draw(0, 3, 4, 5, 6)
    assert variables.encode(m).shape == (3, 8, 5, 6)
    assert torch.equal(variables.decode(variables.encode(m)), m)


@pytest.mark.parametrize("kind", VARIABLE_AUGMENTATIONS)
def test_encoder_and_decoder_are_linear(kind: str) -> None:
    variables = VARIABLE_AUGMENTATIONS[kind]
    a, b = draw(1, 2, 4, 5, 6), draw(2, 2, 4, 5, 6)
    encoded = variables.encode(2.5 * a - b)
    torch.testing.assert_close(encoded, 2.5 * variables.encode(a) - variables.encode(b))
    x, y = draw(3, 2, 8, 5, 6), draw(4, 2, 8, 5, 6)
    decoded = variables.decode(2.5 * x - y)
    torch.testing.assert_close(decoded, 2.5 * variables.decode(x) - variables.decode(y))


def test_parts_that_disagree_are_decoded_as_documented() -> None:
    first, second = draw(6, 1, 2, 3, 3), draw(7, 1, 2, 3, 3)
    expected = {"repeat": (first + second) / 2, "halves": first + second, "zeros": first}
    assert expected.keys() == VARIABLE_AUGMENTATIONS.keys()
    for kind, decoded in expected.items():
        parts = torch.cat((first, second), dim=1)
        assert torch.equal(VARIABLE_AUGMENTATIONS[kind].decode(parts), decoded)


def test_the_parts_are_those_of_their_names() -> None:
    m = draw(5, 1, 2, 3, 3)
    parts = {kind: v.encode(m).chunk(2, dim=1) for kind, v in VARIABLE_AUGMENTATIONS.items()}
    assert torch.equal(parts["repeat"][0], m)
    assert torch.equal(parts["repeat"][1], m)
    assert torch.equal(parts["halves"][0] + parts["halves"][1], m)
    assert torch.equal(parts["halves"][0], parts["halves"][1])
    assert torch.equal(parts["zeros"][0], m)
    assert not parts["zeros"][1].any()
