"""Patches for language models that read from left to right."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from .. import recurrence
from .blocks import compressed_blocks
from .patches import Adapter, Upstream, module_of, of_sizes, replaced, rewritten, shadowed, smaller


def _bloom_gelu(model: Upstream) -> AbstractContextManager[None]:
    """BLOOM's GELU is an autograd function in Python, which TorchScript cannot save.

    Its forward is a plain formula, a function of its own.
    """
    module = module_of(model)
    return replaced(module, "GeLUFunction", SimpleNamespace(apply=module.bloom_gelu_forward))


def _selective_scan(model: Upstream) -> AbstractContextManager[None]:
    """Mamba's scan is a Python loop over the length."""
    module = module_of(model)
    return replaced(module, "mamba_selective_scan", recurrence.selective_scan)


@contextmanager
def _mlstm(model: Upstream) -> Iterator[None]:
    """The memory of xLSTM is a Python loop over chunks, then over the positions that are left."""
    with ExitStack() as stack:
        for module in model.modules():
            if hasattr(module, "_inference_fn"):
                stack.enter_context(replaced(module, "_inference_fn", recurrence.mlstm))
        yield


def _rwkv_attention(model: Upstream) -> AbstractContextManager[None]:
    """RWKV's attention is a Python loop over the length."""
    module = module_of(model)
    return replaced(module, "rwkv_linear_attention", recurrence.rwkv_attention)


@contextmanager
def _rglru(model: Upstream) -> Iterator[None]:
    """RecurrentGemma's recurrence is a Python loop over the length.

    Its square root is an autograd function in Python, which TorchScript cannot save; only the gradient is special.
    """
    module = module_of(model)
    with (
        replaced(module.RecurrentGemmaRglru, "_rnn_scan", recurrence.rglru_scan),
        replaced(module, "SqrtBoundDerivative", SimpleNamespace(apply=torch.sqrt)),
    ):
        yield


@contextmanager
def _experts_by_row(model: Upstream) -> Iterator[None]:
    """JetMoE splits the rows, sorted by expert, by a Python list of counts, which a trace bakes.

    The counts stay a tensor, and every row is multiplied by the weight of its own expert.
    """
    module = module_of(model)

    def forward(experts: Upstream, rows: Tensor, counts: Tensor) -> Tensor:
        ids = torch.arange(experts.num_experts, device=rows.device)
        weights = experts.weight[torch.repeat_interleave(ids, counts)]
        return torch.bmm(weights, rows.unsqueeze(-1)).squeeze(-1)

    with (
        replaced(Tensor, "tolist", lambda counts: counts),
        replaced(module.JetMoeParallelExperts, "forward", forward),
    ):
        yield


def _experts_at_once(model: Upstream) -> AbstractContextManager[None]:
    """LongCat loops over the experts that some row chose, which a trace bakes.

    Every row is multiplied by the weights of its own experts; the last experts return what they are given.
    """
    module = module_of(model)

    def forward(experts: Upstream, rows: Tensor, ids: Tensor, shares: Tensor) -> Tensor:
        last = experts.num_routed_experts - 1
        given = rows[:, None].expand(-1, ids.shape[1], -1)
        both = torch.matmul(experts.gate_up_proj[ids], given[..., None]).squeeze(-1)
        gate, up = both.chunk(2, dim=-1)
        down = experts.down_proj[ids.clamp(max=last)]
        inner = (experts.act_fn(gate) * up)[..., None]
        changed = torch.matmul(down, inner).squeeze(-1)
        results = torch.where((ids > last)[..., None], given, changed)
        return (results * shares[..., None]).sum(1).to(rows.dtype)

    return replaced(module.LongcatFlashExperts, "forward", forward)


def _every_expert(model: Upstream) -> AbstractContextManager[None]:
    """DBRX loops over the experts that some token chose, and a trace bakes how many those were.

    All have their turn; one that nobody chose is given no rows.
    """
    experts = module_of(model).DbrxExperts
    chosen = {r"torch\.greater\(.*?\.nonzero\(\)": "torch.arange(self.num_experts)[:, None]"}
    return replaced(experts, "forward", rewritten(experts.forward, chosen))


def _lightning_attention(model: Upstream) -> AbstractContextManager[None]:
    """MiniMax's lightning attention is a Python loop over blocks of the row.

    It is a recurrence over positions, cut into blocks for speed: one state for each pair of channels, which
    fades by e^-slope a position. Upstream decodes by that recurrence.
    """
    module = module_of(model)

    def forward(
        attention: Upstream,
        hidden_states: Tensor,
        position_embeddings: Any,
        attention_mask: Tensor | None,
        cache: Upstream = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        rows, length, _width = hidden_states.shape
        joint = attention.act_fn(attention.qkv_proj(hidden_states))
        joint = module.apply_mask_to_padding_states(joint, attention_mask)
        heads = joint.reshape(rows, length, attention.num_attention_heads, -1)
        query, key, value = heads.float().chunk(3, dim=-1)
        update = key[..., :, None] * value[..., None, :]
        decay = torch.exp(-attention.slope_rate.float()).expand_as(update[0, 0])
        before = None if cache is None else cache.get_linear_cache(attention.layer_idx)
        states = recurrence.linear(decay[None, None].expand_as(update), update, before)
        if cache is not None:
            cache.set_linear_cache(attention.layer_idx, states[:, -1])
        mixed = torch.matmul(query[..., None, :], states).squeeze(-2)
        mixed = attention.norm(mixed.flatten(2).to(hidden_states.dtype))
        gate = torch.sigmoid(attention.output_gate(hidden_states))
        return attention.out_proj(gate * mixed), None

    return replaced(module.MiniMaxLightningAttention, "forward", forward)


def _scatter_numbers(_model: Upstream) -> AbstractContextManager[None]:
    """Sparse attention scatters `False`; TorchScript's `scatter` takes numbers, and no truth values."""
    original = Tensor.scatter

    def scatter(into: Tensor, dim: int, index: Tensor, value: bool) -> Tensor:
        return original(into, dim, index, int(value))

    def truth_value(_into: Tensor, _dim: int, _index: Tensor, value: Any) -> bool:
        return isinstance(value, bool)

    return replaced(Tensor, "scatter", scatter, truth_value)


def short_rows(model: Upstream) -> AbstractContextManager[None]:
    """Sparse attention chooses no more tokens than it finds, by Python's `min`, which a trace bakes."""
    return shadowed(module_of(model), "min", smaller, of_sizes)


@contextmanager
def _reformer(model: Upstream) -> Iterator[None]:
    """Reformer reads lengths and positions in Python, draws its hash anew, and has autograd functions in Python.

    Rows are always padded to whole chunks (upstream: `_pad_to_mult_of_chunk_length`), any position can be asked for,
    and the hash is the one that the config's seed draws.
    """
    module = module_of(model)
    chunk = int(module._get_least_common_mult_chunk_len(model.config))
    inner = module.ReformerModel.forward

    def plain(function: Any) -> SimpleNamespace:
        context = SimpleNamespace(save_for_backward=lambda *_: None)
        return SimpleNamespace(apply=lambda *given: function.forward(context, *given))

    def padded(core: Upstream, ids: Tensor, attention_mask: Tensor, **rest: Any) -> Any:
        length = ids.shape[1]
        extra = (0, -length % chunk)
        ids = nn.functional.pad(ids, extra, value=core.config.pad_token_id)
        mask = nn.functional.pad(attention_mask, extra)
        result = inner(core, ids, attention_mask=mask, **rest)
        result.last_hidden_state = result.last_hidden_state[:, :length]
        return result

    def axial(embeddings: Upstream, position_ids: Tensor) -> Tensor:
        shape = embeddings.axial_pos_shape
        parts = [weight.expand(*shape, -1) for weight in embeddings.weights]
        return torch.cat(parts, dim=-1).flatten(0, 1)[position_ids]

    def order(_attention: Any, _length: Any, buckets: Tensor, _rounds: int) -> Any:
        forth = module._stable_argsort(buckets, dim=-1)
        return forth, forth.argsort(dim=-1)

    hashing = next(m for m in model.modules() if isinstance(m, module.LSHSelfAttention))
    heads = (hashing.num_attention_heads, hashing.attention_head_size)
    shape = (*heads, hashing.num_hashes, hashing.num_buckets // 2)
    torch.manual_seed(hashing.hash_seed)
    drawn = torch.randn(shape, dtype=model.dtype)
    with (
        replaced(torch, "randn", lambda *_, **__: drawn),
        replaced(module, "_ReversibleFunction", plain(module._ReversibleFunction)),
        replaced(module, "ReverseSort", plain(module.ReverseSort)),
        replaced(module.ReformerModel, "forward", padded),
        replaced(module.AxialPositionEmbeddings, "forward", axial),
        replaced(
            module.LSHSelfAttention,
            "_get_sorted_bucket_idx_and_undo_sorted_bucket_idx",
            order,
        ),
    ):
        yield


def _words_of_all_frequencies(model: Upstream) -> AbstractContextManager[None]:
    """Transformer-XL skips the frequencies of which no word is in the row, and a trace bakes which those were.

    All have their turn; one without a word embeds nothing.
    """
    embedding = module_of(model).AdaptiveEmbedding
    found = {r"\.squeeze\(\)\s+if indices_i\.numel\(\) == 0:\s+continue": ".squeeze(-1)"}
    return replaced(embedding, "forward", rewritten(embedding.forward, found))


def _prompt_mask(model: Upstream) -> AbstractContextManager[None]:
    """CPM-Ant counts positions by a Python list, which a trace bakes.

    What is real (the prompt, and as many positions at the end as there are tokens) sees all that is real: the
    model calls every position context, of one span.
    """
    core = model.cpmant

    def mask(ids: Tensor, _span: Tensor, _context: Tensor, length: Tensor) -> Tensor:
        left = torch.arange(ids.shape[1], device=ids.device).flip(0)[None]
        prompt = left >= ids.shape[1] - core.prompt_length
        real = prompt | (left < length[:, None])
        return real[:, :, None] & real[:, None, :]

    return replaced(core, "_prepare_attention_mask", mask)


ADAPTERS: dict[str, list[Adapter]] = {
    "axk2": [_scatter_numbers, short_rows],
    "bloom": [_bloom_gelu],
    "cpmant": [_prompt_mask],
    "dbrx": [_every_expert],
    "deepseek_v32": [_scatter_numbers, short_rows],
    "deepseek_v4": [compressed_blocks],
    "dots3_note_text": [_scatter_numbers, short_rows],
    "falcon_mamba": [_selective_scan],
    "glm_moe_dsa": [_scatter_numbers, short_rows],
    "hy_v4": [_scatter_numbers, short_rows],
    "hy_v4_vl_text": [_scatter_numbers],
    "jamba": [_selective_scan],
    "jetmoe": [_experts_by_row],
    "longcat_flash": [_experts_at_once],
    "mamba": [_selective_scan],
    "minimax": [_lightning_attention],
    "mistral_large4_text": [_scatter_numbers],
    "recurrent_gemma": [_rglru],
    "reformer": [_reformer],
    "rwkv": [_rwkv_attention],
    "transfo-xl": [_words_of_all_frequencies],
    "xlstm": [_mlstm],
    "zamba": [_selective_scan],
}
