import samples
from torch import Tensor, nn

from exporter.draft import Draft, said
from exporter.job import Json
from exporter.lent import lent
from exporter.trials import measure

NOISE: Json = {"name": "noise", "dtype": "float32", "shape": ["draws", 2], "fill": {"kind": "uniform"}}
AXES: Json = {"draws": {"per": "batch", "count": 3}, "batch": {"dynamic": [2, 3]}}


class _Noisy(nn.Module):
    """Words, and noise whose shape nothing documents."""

    config = samples.CONFIG

    def forward(self, input_ids: Tensor, noise: Tensor, attention_mask: Tensor | None = None) -> Json:
        assert noise.shape == (3 * input_ids.shape[0], 2)
        return {"logits": noise.mean() + input_ids[..., None].float().expand(*input_ids.shape, 32)}


def entry(*inputs: Json) -> Json:
    """An entry with those inputs."""
    return {"name": "other", "class": "Other", "base": {"inputs": list(inputs), "axes": AXES}}


def draft() -> Draft:
    """A draft of words."""
    axes = {name: {"dynamic": sizes} for name, sizes in {"batch": [2, 3], "sequence": [5, 7]}.items()}
    return samples.draft(base={"axes": axes}, contract={"inputs": [samples.TOKENS, samples.MASK]})


def test_an_input_that_a_class_needs_is_what_another_entry_has_under_its_name() -> None:
    form = {"noise": {"shape": ["draws", 2], "fill": "uniform"}}
    entries = [entry(samples.TOKENS), entry(samples.TOKENS, samples.MASK, NOISE)]
    assert [*lent(draft(), _Noisy(), entries, set())] == [(form, AXES)]
    longer = entry(samples.TOKENS, NOISE | {"name": "image_noise"})
    assert [*lent(draft(), _Noisy(), [longer], set())] == [(form, AXES)]
    assert [*lent(draft(), _Noisy(), [entry(samples.TOKENS)], set())] == []


def test_a_class_is_run_with_what_another_entry_has_and_at_its_sizes() -> None:
    own = draft()
    data = {
        "dims": {"vocabulary": ["vocab_size"]},
        "new_tokens": 16,
        "entries": [entry(samples.TOKENS, NOISE)],
    }
    measure(own, _Noisy(), data)
    assert own.inputs["noise"] == {"shape": ["draws", 2], "fill": "uniform"}
    assert own.axes == {"draws": AXES["draws"]}


def test_an_input_is_said_as_the_spec_says_it() -> None:
    whole: Json = {"name": "a", "shape": ["batch"], "dtype": "int64"}
    assert said(whole | {"fill": {"kind": "integers", "low": 0, "high": 4}})["fill"] == {"integers": [0, 4]}
    assert said(whole | {"fill": {"kind": "grid", "columns": 2, "rows": 3}})["fill"] == {"grid": [2, 3]}
    assert said(whole | {"fill": {"kind": "ones"}}) == {"shape": ["batch"], "fill": "ones", "dtype": "int64"}
    assert said(NOISE) == {"shape": ["draws", 2], "fill": "uniform"}
