"""Disturbed runs change what processors may compute otherwise, and nothing else."""

import torch

from exporter.rounding import POOL, UNIT, Disturbed

LEFT = torch.linspace(0.1, 1.7, 12).reshape(3, 4)
RIGHT = torch.linspace(-1.3, 0.9, 8).reshape(4, 2)


def test_what_ieee_fixes_stays_and_so_do_whole_numbers() -> None:
    """Sums of two numbers, products and roots are the same everywhere; so is a sum of whole numbers."""
    with Disturbed(1):
        assert torch.equal((LEFT + 0.3) * LEFT / 7, (LEFT + 0.3) * LEFT / 7)
        assert torch.ones(3, 4).sum() == 12
        assert torch.equal(torch.eye(4) @ torch.ones(4, 2), torch.ones(4, 2))
    plain = (LEFT + 0.3) * LEFT / 7
    with Disturbed(1):
        assert torch.equal((LEFT + 0.3) * LEFT / 7, plain)


def test_a_product_of_matrices_moves_by_a_few_roundings_and_a_draw_repeats_itself() -> None:
    """By no more than the bound that the terms are moved by, and otherwise in another draw."""
    plain = LEFT @ RIGHT

    def drawn(draw: int) -> torch.Tensor:
        with Disturbed(draw):
            return LEFT @ RIGHT

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    bound = 3 * UNIT * 2 * (LEFT.abs() @ RIGHT.abs())
    assert (drawn(1) - plain).abs().max() > 0 and ((drawn(1) - plain).abs() <= bound).all()


def test_half_precision_moves_by_whole_units_or_not_at_all() -> None:
    """Kernels sum in float32 and round once: an element is the same or its neighbour."""
    left, right = LEFT.bfloat16(), RIGHT.bfloat16()
    plain = left @ right
    with Disturbed(3):
        moved = left @ right
    assert moved.dtype is torch.bfloat16
    assert ((moved - plain).abs() <= plain.abs() * 2**-7 + 2**-8).all()


def test_an_operator_in_place_is_disturbed_in_its_place() -> None:
    """`exp_` is a function as `exp` is."""
    value = LEFT.clone()
    with Disturbed(1):
        value.exp_()
    assert not torch.equal(value, LEFT.exp()) and torch.allclose(value, LEFT.exp())


def test_every_second_draw_rounds_the_root_of_half_precision_as_kernels_without_vectors_do() -> None:
    """In one rounding 1/√x is nearest; in two it may be a unit away."""
    value = torch.linspace(0.1, 3.9, 101).bfloat16()

    def drawn(draw: int) -> torch.Tensor:
        with Disturbed(draw):
            return value.rsqrt()

    # In float32 and back: bfloat16's own kernel rounds once on some processors, twice on others.
    once, twice = value.float().rsqrt().bfloat16(), value.sqrt().reciprocal()
    assert not torch.equal(twice, once)
    assert torch.equal(drawn(1), twice) and not torch.equal(drawn(2), twice)


def test_a_tensor_nearly_as_large_as_the_store_of_signs_gets_one_for_each_number() -> None:
    mode = Disturbed(1)
    for count in (POOL - 990, POOL - 1, POOL, POOL + 1, 7):
        assert len(mode._signs(count)) == count
