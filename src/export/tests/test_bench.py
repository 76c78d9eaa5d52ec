from pathlib import Path
from typing import Any

import pytest
import samples
import torch
from torch import nn
from transformers import BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from exporter import bench, model
from exporter.errors import ExportError


def test_eager_python_is_what_from_pretrained_makes_of_the_artifacts_weights(tmp_path: Path) -> None:
    job = samples.job(config=samples.SMALL)
    served = model.with_attention(job, None)
    loaded = bench.loader(served, job, str(tmp_path))()
    assert isinstance(loaded, BertForMaskedLM)
    assert loaded.config._attn_implementation == model.SDPA
    given = samples.inputs()
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, served(**given).logits)


def test_an_entrys_one_attention_is_pythons_too(tmp_path: Path) -> None:
    job = samples.job(config=samples.SMALL, attention=model.EAGER)
    loaded = bench.loader(model.build(job), job, str(tmp_path))()
    assert isinstance(loaded, BertForMaskedLM)
    assert loaded.config._attn_implementation == model.EAGER


def test_other_weights_than_those_that_were_saved_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = samples.job(config=samples.SMALL)
    served = model.build(job)
    plain = BertForMaskedLM.from_pretrained

    def other(folder: str, **named: Any) -> nn.Module:
        loaded = plain(folder, **named)
        next(loaded.parameters()).data.add_(1)
        return loaded

    monkeypatch.setattr(BertForMaskedLM, "from_pretrained", other)
    with pytest.raises(ExportError, match="from_pretrained gives BertForMaskedLM another"):
        bench.loader(served, job, str(tmp_path))


def test_a_model_that_keeps_a_cache_is_called_without_one() -> None:
    reader, inputs = samples.Reader(), samples.inputs()
    assert "use_cache" not in bench.keywords(reader, inputs)
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=32))
    assert bench.keywords(gpt2, inputs)["use_cache"] is False


def test_as_many_tokens_are_written_as_are_asked_for_under_either_attention() -> None:
    timer = bench.Bench()
    timer.model = GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=32, eos_token_id=2)
    ).eval()
    timer.device = torch.device("cpu")
    for attention in (model.SDPA, model.EAGER):
        asked = {"prompts": [[3, 4], [5, 6]], "new": 5, "attention": attention, "count": 2}
        told = timer.generate(asked)
        assert len(told["seconds"]) == 2
        assert [len(row) for row in told["tokens"]] == [5, 5]
        assert timer.model.config._attn_implementation == attention
