import samples
import torch
from torch import nn
from transformers import BertForMaskedLM

from exporter import attention, model


def test_a_class_is_served_with_the_attention_that_it_chooses_and_the_same_weights() -> None:
    job = samples.job(config=samples.SMALL)
    eager = model.build(job)
    served = attention.served(job, eager, samples.inputs(), _nothing)
    assert isinstance(served, BertForMaskedLM)
    assert served is not eager
    assert served.config._attn_implementation == model.SDPA
    pairs = zip(eager.state_dict().values(), served.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_model_without_a_choice_is_served_as_it_is() -> None:
    eager = samples.Reader()
    assert attention.served(samples.job(), eager, samples.inputs(), _nothing) is eager


def test_a_mask_hides_positions_of_outputs_that_have_its_axes() -> None:
    job = samples.job(outputs=[samples.LOGITS, {**samples.LOGITS, "name": "pooled", "shape": ["batch", 3]}])
    hidden = attention.hidden(job, samples.inputs())
    assert list(hidden) == ["logits"]
    assert hidden["logits"].tolist() == [[[False], [False], [False]], [[False], [False], [True]]]


def test_axes_of_a_mask_are_found_by_name_in_any_order() -> None:
    turned = {**samples.LOGITS, "shape": ["sequence", "vocabulary", "batch"]}
    hidden = attention.hidden(samples.job(outputs=[turned]), samples.inputs())
    assert hidden["logits"].shape == (3, 1, 2)
    assert hidden["logits"][2, 0].tolist() == [False, True]


def test_a_pair_of_positions_is_hidden_where_one_of_them_is() -> None:
    pairs = {**samples.LOGITS, "shape": ["batch", "sequence", "sequence"]}
    hidden = attention.hidden(samples.job(outputs=[pairs]), samples.inputs())
    assert hidden["logits"][1].tolist() == [[False, False, True], [False, False, True], [True, True, True]]


def _nothing(_job: object, _model: nn.Module) -> None:
    pass
