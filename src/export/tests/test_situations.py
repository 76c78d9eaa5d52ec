"""What checks do to the inputs of the traced case."""

import samples
import torch

from exporter.situations import situations


def test_a_row_by_itself_gets_another_last_token_too() -> None:
    """The next ordinary one, where the mask says that the row ends; nothing else changes."""
    job = samples.job(
        causal="input_ids",
        pads=False,
        rows={},
        cases=[{"name": "traced", "sizes": {"batch": 1, "sequence": 4}}],
    )
    traced = {"input_ids": torch.tensor([[5, 6, 31, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}
    (changed,) = situations(job, samples.CONFIG, {"vocabulary": 32}, traced)
    tokens = changed.inputs["input_ids"]
    assert tokens[0, [0, 1, 3]].tolist() == [5, 6, 0]
    # After the last of the vocabulary comes the first that is not special.
    assert tokens[0, 2] == 3
    assert torch.equal(changed.inputs["attention_mask"], traced["attention_mask"])
