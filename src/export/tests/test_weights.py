"""Parameters that move nothing are found, however few or many they are among those that do."""

import pytest

from exporter.weights import _still

NAMES = [f"p{place}" for place in range(40)]


@pytest.mark.parametrize("movers", [[], ["p0"], ["p7", "p8", "p39"], NAMES])
def test_those_that_do_not_move_anything_are_found_in_groups(movers: list[str]) -> None:
    """And with far fewer looks than one at each, where nearly none moves."""
    looks: list[list[str]] = []

    def moves(names: list[str]) -> bool:
        looks.append(names)
        return any(name in movers for name in names)

    assert _still(NAMES, moves) == [name for name in NAMES if name not in movers]
    if len(movers) < 4:
        assert len(looks) <= 1 + 2 * 6 * len(movers)
