import samples
import torch
from torch import Tensor, nn

from exporter import invariance

DATA = {"dims": {"vocabulary": ["vocab_size"]}, "new_tokens": 16}
ROWS = {**samples.LOGITS, "shape": ["batch", "sequence"]}


class Words(nn.Module):
    """Gives every position a number, which its own word and what `mixed` does with all of them decide."""

    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        values = input_ids * self.weight
        return {"logits": values + self.mixed(values, attention_mask)}

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        """Nothing of the others."""
        return 0 * values


class OfRow(Words):
    """Every position takes the mean of all real ones."""

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)


class OfNeighbour(Words):
    """Every position takes from the next one, padding or not."""

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        return 0.5 * nn.functional.pad(values, (0, 1))[:, 1:] + 0.1 * mask.roll(-1, 1)


class OfPlace(Words):
    """Every position counts those before it, as a text that begins at the left does."""

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        return torch.arange(values.shape[1]).expand_as(values) * self.weight


class OfBatch(Words):
    """Every row takes from all."""

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask).mean()


def taken(eager: nn.Module, padding: str = "right", causal: str | None = None) -> tuple[str | None, set[str]]:
    """The side that the draft takes, where it is another, and the checks that it leaves out."""
    draft = samples.draft(base={"padding": padding}, contract={"outputs": [ROWS], "causal": causal})
    invariance.take_sides(draft, eager, DATA)
    return draft.padding, set(draft.omit)


def test_nothing_is_left_out_of_what_eager_keeps_apart() -> None:
    assert taken(Words(), causal="input_ids") == (None, set())
    assert taken(OfRow()) == (None, set())


class OfPadding(Words):
    """Padding takes from all real positions, which take from none."""

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        return (1 - mask) * (values * mask).sum(1, keepdim=True)


def test_padding_may_see_what_it_likes() -> None:
    assert taken(OfPadding(), "left", causal="input_ids") == (None, set())


def test_padding_goes_to_the_side_on_which_it_moves_nothing() -> None:
    assert taken(OfPlace(), "left") == ("right", set())


def test_what_eager_itself_lets_through_is_left_out_with_what_was_measured() -> None:
    assert taken(OfRow(), causal="input_ids") == (None, {"causal"})
    assert taken(OfBatch()) == (None, {"batch_invariant", "padding_invariant"})
    draft = samples.draft(contract={"outputs": [ROWS]})
    invariance.take_sides(draft, OfBatch(), DATA)
    assert draft.omit["batch_invariant"].startswith(
        "eager itself, in float64: a row alone has another logits, by 0."
    )


def test_a_check_that_is_left_out_already_keeps_its_reason() -> None:
    draft = samples.draft(contract={"outputs": [ROWS], "causal": "input_ids"})
    draft.omit["causal"] = "CTC"
    invariance.take_sides(draft, OfRow(), DATA)
    assert draft.omit == {"causal": "CTC"}


class Drawn(Words):
    """Adds noise to every position."""

    def mixed(self, values: Tensor, mask: Tensor) -> Tensor:
        return torch.randn(values.shape, dtype=values.dtype)


def test_what_moves_because_it_is_drawn_is_told_as_drawn() -> None:
    def why(eager: nn.Module) -> str:
        draft = samples.draft(contract={"outputs": [ROWS]})
        invariance.take_sides(draft, eager, DATA)
        return draft.omit["batch_invariant"]

    assert why(Drawn()).startswith("eager itself draws random numbers: a row alone has another logits")
    assert why(OfBatch()).startswith("eager itself, in float64: a row alone has another logits")
