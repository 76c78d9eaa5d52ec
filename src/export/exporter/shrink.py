"""A tiny config from a class's default one.

In: the default config, and what the spec already says. Out: overrides that make the model small and keep its
kind: its layer types, grouped heads, experts, its parts and their order.
"""

import re
from typing import Any

from .errors import ExportError
from .job import Json
from .model import Config, _inner, knows

HIDDEN, LAYERS, HEADS, GROUPS, WIDE, VOCABULARY = 32, 2, 4, 2, 64, 128
IMAGE, PATCH = 32, 8
# The first rule that an attribute's name matches decides its size; names are the common ones, which
# `attribute_map` translates. A rule only ever makes a number smaller.
RULES: list[tuple[re.Pattern[str], int]] = [
    (re.compile(pattern), size)
    for pattern, size in [
        (r"vocab_size", VOCABULARY),
        (r"^(num_hidden_layers|num_layers|n_layers?|depth)$", LAYERS),
        # They share what an earlier layer of their kind computed; a tiny model has none to spare.
        (r"kv_shared_layers$", 0),
        (r"(encoder|decoder)_(num_)?(hidden_)?layers$|num_.*_layers$", LAYERS),
        (r"^(num_key_value_heads|num_kv_heads|n_kv_heads?|multi_query_group_num)$", GROUPS),
        (r"(linear|mamba|ssm)_.*num.*heads$", HEADS),
        (r"heads?$", HEADS),
        (r"head_dim$|^d_kv$|^kv_channels$|head_size$", HIDDEN // HEADS),
        (r"lora_rank$|^(q|kv)_rank$", HIDDEN // 2),
        (r"time_step_rank|dt_rank", LAYERS),
        (r"state_size$|^d_state$", HIDDEN // HEADS),
        (r"upsample_groups$", HIDDEN),
        (r"experts_per_tok|(^|_)top_?k$|num_selected_experts", 2),
        (r"shared_experts$|n_groups?$|topk_group|first_k_dense_replace", 1),
        (r"experts$", 4),
        (r"intermediate_size|ffn_dim|(^|_)d_ff$|n_inner|ffn_hidden|feed_?forward|mlp_dim", WIDE),
        (r"max_source_positions", 20),
        (r"num_conv_pos_embeddings", 16),
        (r"position|^block_size$|n_ctx|max_.*(length|len)$|seq_length", WIDE),
        (r"sliding_window|attention_window|local_attention|window_size|attention_chunk", HIDDEN // HEADS),
        (r"image_size|input_size|img_size", IMAGE),
        (r"(^|_)patch_size$", PATCH),
        (r"mel_bins", 16),
        # Decoders of masks norm their features in 32 groups.
        (r"feature_size", HIDDEN),
        (r"queries$|num_latents", 12),
        (
            r"hidden_size|d_model|embed_dim|embedding_size|n_embd|(_|^)dims?$|_size$|channels|width$|hidden",
            HIDDEN,
        ),
    ]
]
# Heads, their width, and how many hidden sizes wide they are together.
EXPANDED = (
    ("num_heads", "head_dim", "expand", "hidden_size"),
    ("mamba_n_heads", "mamba_d_head", "mamba_expand", "hidden_size"),
)
# Names that say more than the common ones that they have.
PLACES = ("block_size",)
SPECIAL = re.compile(r"_token_(id|ids|index)$")
USUAL = {"pad": 0, "bos": 1, "eos": 2, "decoder_start": 3, "sep": 2, "cls": 1, "unk": 3}
# Lists that name the kind of every layer; lists of the layers that something is taken from.
KINDS = ("layer_types", "layers_block_type", "block_types")
TAPS = re.compile(r"out_indices$|(feature|extract)_layers?$|deepstack_visual_indexes$")
# Counts of layers that may add up to all of them.
SECTION = re.compile(r"^n(um)?_\w+_layers$")
# A list of so few items may have its length by chance.
FEW = 4
# Sizes that say how often something is done, not how wide it is.
KEPT = re.compile(
    r"temperature|kernel|stride|dilation|num_channels|in_channels|(?<!attention_)chunk|batch|type_vocab|spatial_merge|feat_extract_layers"
)


def shrink(default: Config, said: Json) -> Json:
    """Overrides for `default`, none of which touches what the spec says already."""
    ids = _Ids(said)
    return _shrunk(default, said, ids)


def drops(default: Config, said: Json) -> Json:
    """A `null` for everything the spec says that this config does not know."""
    found: Json = {}
    for name, value in said.items():
        # Not read as an attribute: one that differs from layer to layer refuses that.
        inner = _inner(vars(default).get(name), value)
        if inner is not None:
            below = drops(inner, value)
            found |= {name: below} if below else {}
        elif not knows(default, name):
            found[name] = None
    return found


class _Ids:
    """Hands out token ids inside the small vocabulary, each once."""

    def __init__(self, said: Json) -> None:
        self.taken = {0, 1, 2, 3} | set(_ids_in(said))

    def give(self, name: str, value: Any) -> Any:
        usual = next((id for word, id in USUAL.items() if name.startswith(word)), None)
        if isinstance(value, list):
            return [usual if usual is not None else self._fresh()]
        return usual if usual is not None else self._fresh()

    def _fresh(self) -> int:
        free = set(range(VOCABULARY)) - self.taken
        if not free:
            raise ExportError(f"the config asks for more token ids than a vocabulary of {VOCABULARY} has")
        fresh = min(free)
        self.taken.add(fresh)
        return fresh


def _ids_in(said: Json) -> list[int]:
    found = []
    for name, value in said.items():
        if isinstance(value, dict):
            found += _ids_in(value)
        elif SPECIAL.search(name) and type(value) is int:
            found.append(value)
    return found


def _shrunk(default: Config, said: Json, ids: _Ids) -> Json:
    common = {real: name for name, real in default.attribute_map.items()}
    known = {default.attribute_map.get(name, name): value for name, value in said.items()}
    overrides: Json = {}
    # A dictionary may be written in another form than the config is read in.
    values = {name: vars(default).get(name, value) for name, value in default.to_dict().items()}
    values |= _parts(default)
    for name, value in values.items():
        if isinstance(value, Config):
            inner = _inner(value, known.get(name, {})) or value
            below = _shrunk(inner, known.get(name) or {}, ids)
            overrides |= {name: below} if below else {}
        elif name not in known:
            # Bark calls its table of positions a window.
            small = _small(name if name in PLACES else common.get(name, name), value, ids)
            if small != listed(value):
                overrides[name] = small
    computed = [getattr(default, name, None) for name in KINDS if name not in values]
    _layers(values, known, overrides, common, [list(kinds) for kinds in computed if kinds])
    _groups(values, known, overrides, common)
    _sums(values, known, overrides)
    _expanded(values, known, overrides)
    _borrowed(default, known, overrides)
    _rotary(values, known, overrides)
    _towers(default, known, overrides)
    _start(values, known, overrides)
    return overrides


def _parts(default: Config) -> dict[str, Config]:
    return {name: value for name, value in vars(default).items() if isinstance(value, Config)}


def _small(name: str, value: Any, ids: _Ids) -> Any:
    """The small value of an attribute: its own where it is small enough, or no size at all."""
    if SPECIAL.search(name):
        large = [id for id in (value if isinstance(value, list) else [value]) if type(id) is int]
        return ids.give(name, value) if any(id >= VOCABULARY for id in large) else listed(value)
    # A list of channels is of layers, one number of pictures.
    if KEPT.search(name) and not (name.endswith("channels") and isinstance(value, list | tuple)):
        return listed(value)
    if type(value) is int:
        return _size(name, value)
    if isinstance(value, list | tuple) and value and all(type(item) is int for item in value):
        if name == "depths":
            return [1] * len(value)
        if name.endswith("heads"):
            return [2] * len(value)
        return [_size(name, item) for item in value]
    return listed(value)


def listed(value: Any) -> Any:
    """A value as the spec writes it, where tuples are lists."""
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    return {name: listed(item) for name, item in value.items()} if isinstance(value, dict) else value


def unsaid(config: Config) -> Json:
    """A small size for everything whose size the config leaves to its class."""
    found: Json = {}
    for name, value in vars(config).items():
        limit = size_of(name)
        if isinstance(value, Config):
            below = unsaid(value)
            found |= {name: below} if below else {}
        elif value is None and limit and not SPECIAL.search(name) and not KEPT.search(name):
            found[name] = limit
    return found


def size_of(name: str) -> int | None:
    """The small size of an attribute of that name; None where it is no size."""
    return next((size for pattern, size in RULES if pattern.search(name)), None)


def _size(name: str, value: int) -> int:
    limit = size_of(name)
    return value if limit is None else min(value, limit)


def _layers(
    values: Json, known: Json, overrides: Json, common: dict[str, str], computed: list[list[str]]
) -> None:
    """Lists with one item for every layer: each kind of layer once, at least two layers."""
    count = next((name for name in values if common.get(name, name) == "num_hidden_layers"), None)
    # LXMERT has as many as it has streams.
    if count is None or type(values[count]) is not int:
        return
    total = values[count]
    lists = {
        name: value
        for name, value in values.items()
        if isinstance(value, list | tuple) and len(value) == total and (total > FEW or name.endswith(KINDS))
    }
    alike = sum(isinstance(value, list | tuple) and len(value) == total for value in values.values())
    if count.endswith("stages") or (total <= FEW and alike > 2):
        # So many lists do not have that length by chance; stages are not layers, of which two do.
        overrides.pop(count, None)
        return
    # Kinds of layers that are repeated until there are enough.
    patterns = [
        value
        for name, value in values.items()
        if name.endswith(KINDS) and isinstance(value, list | tuple) and 0 < len(value) < total
    ]
    patterns += computed
    taps = {
        name: value
        for name, value in values.items()
        if TAPS.search(name) and _taken(value) and name not in known
    }
    sections = [
        name for name in values if SECTION.search(name) and name != count and type(values[name]) is int
    ]
    sections = sections if sum(values[name] for name in sections) == total else []
    if not (lists or patterns or taps or sections):
        return
    kinds = [len(set(value)) for name, value in lists.items() if name.endswith(KINDS)]
    kinds += [max(map(pattern.index, pattern)) + 1 for pattern in patterns]
    fewest = known.get(count) or LAYERS
    small = max([fewest, len(sections), *kinds, *(len(value) for value in taps.values())])
    if small != (known.get(count) or overrides.get(count)):
        overrides[count] = small
    for name, value in lists.items():
        kinds_of = list(dict.fromkeys(value)) if name.endswith(KINDS) else overrides.get(name, value)
        overrides[name] = [kinds_of[index % len(kinds_of)] for index in range(small)]
    for name, value in taps.items():
        overrides[name] = _last(value, small)
    for index, name in enumerate(sections):
        overrides[name] = 1 if index else small - len(sections) + 1
    own = values.get("per_layer_config")
    kinds_of = [name for name in lists if name.endswith(KINDS)]
    if own and kinds_of:
        rows = list(zip(*(values[name] for name in kinds_of), strict=True))
        wanted = zip(*(overrides[name] for name in kinds_of), strict=True)
        like = [rows.index(row) if row in rows else index for index, row in enumerate(wanted)]
        overrides["per_layer_config"] = _per_layer(own, like, values, overrides)


def _per_layer(own: Json, like: list[int], values: Json, overrides: Json) -> Json:
    """What single layers have for themselves, as much larger or smaller than the others' as before."""

    def scaled(name: str, value: Any) -> Any:
        usual, small = values.get(name), overrides.get(name)
        counts = type(value) is type(usual) is type(small) is int
        return max(1, value * small // usual) if counts else value

    def shrunk(given: Json) -> Json:
        small = overrides | {name: scaled(name, value) for name, value in given.items()}
        _sums(values | given, {}, small)
        return {name: value for name, value in small.items() if name in given or value != overrides.get(name)}

    given = {int(layer): of_layer for layer, of_layer in own.items()}
    return {str(index): shrunk(given[layer]) for index, layer in enumerate(like) if layer in given}


def _groups(values: Json, known: Json, overrides: Json, common: dict[str, str]) -> None:
    """As many groups of keys as heads, where the class has it so: always where all come from one latent."""
    names = {common.get(name, name): name for name in values}
    heads = names.get("num_attention_heads")
    groups = names.get("num_key_value_heads") or names.get("num_kv_heads")
    if heads is None or groups is None or groups in known or type(values[groups]) is not int:
        return
    if values[heads] == values[groups] or "kv_lora_rank" in values:
        overrides[groups] = known.get(heads, overrides.get(heads, values[heads]))


def _sums(values: Json, known: Json, overrides: Json) -> None:
    """A head that is made of two parts is as wide as both."""
    parts = ("qk_nope_head_dim", "qk_rope_head_dim")
    if not all(type(values.get(part)) is int for part in parts):
        return
    whole = sum(values[part] for part in parts)
    for name, value in values.items():
        if name.endswith("head_dim") and value == whole and name not in known:
            overrides[name] = sum(known.get(part, overrides.get(part, values[part])) for part in parts)


def _expanded(values: Json, known: Json, overrides: Json) -> None:
    """Heads that share an inner width, as many times the hidden size as `expand` says, fill it as they did."""
    for names in EXPANDED:
        if not all(type(values.get(name)) is int for name in names):
            continue
        heads, width, expand, hidden = (values[name] for name in names)
        if heads * width == expand * hidden and names[1] not in known:
            heads, _, expand, hidden = (known.get(name, overrides.get(name, values[name])) for name in names)
            overrides[names[1]] = expand * hidden // heads


def _taken(value: Any) -> bool:
    """Whether a value is a list of layers to take something from, some of them too far up."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 1
        and all(type(item) is int for item in value)
        and len(set(value)) == len(value)
        and min(value) >= 0
        and max(value) > LAYERS
    )


def _last(taps: list[int], layers: int) -> list[int]:
    """As many of the last layers, in the same order."""
    ranks = sorted(taps)
    return [layers - len(taps) + ranks.index(tap) for tap in taps]


def _borrowed(default: Config, known: Json, overrides: Json) -> None:
    """Layers of the images' tower that another part takes something from."""
    parts = _parts(default)
    tower = parts.get("vision_config")
    for name, part in {"": default, **parts}.items():
        if part is tower or tower is None or hasattr(part, "num_hidden_layers"):
            continue
        below = known.get(name) or {} if name else known
        for tap, value in vars(part).items():
            if TAPS.search(tap) and _taken(value) and tap not in below:
                said = {**overrides.get("vision_config", {}), **(known.get("vision_config") or {})}
                layers = said.get("num_hidden_layers", LAYERS)
                if layers < len(value):
                    layers = len(value)
                    overrides.setdefault("vision_config", {})["num_hidden_layers"] = layers
                (overrides.setdefault(name, {}) if name else overrides)[tap] = _last(value, layers)


def _rotary(values: Json, known: Json, overrides: Json) -> None:
    """Rotary sections must add up to half a head."""
    rope = values.get("rope_parameters") or {}
    sections = rope.get("mrope_section")
    if sections and "rope_parameters" not in known:
        half = HIDDEN // HEADS // 2
        third = half // 3
        overrides["rope_parameters"] = {**rope, "mrope_section": [half - 2 * third, third, third]}


def _towers(default: Config, known: Json, overrides: Json) -> None:
    """A text that is projected to the width of the images, as in SigLIP."""
    parts = _parts(default)
    if {"text_config", "vision_config"} <= parts.keys() and hasattr(parts["text_config"], "projection_size"):
        said = {**overrides.get("vision_config", {}), **(known.get("vision_config") or {})}
        width = said.get("hidden_size", parts["vision_config"].hidden_size)
        overrides.setdefault("text_config", {})["projection_size"] = width


def _start(values: Json, known: Json, overrides: Json) -> None:
    """A decoder that its config gives no first token starts with padding, as T5's checkpoints do."""
    own = {**values, **known, **overrides}
    starts = any(type(own.get(name)) is int for name in ("decoder_start_token_id", "bos_token_id"))
    if own.get("is_encoder_decoder") and not starts and type(own.get("pad_token_id")) is int:
        overrides["decoder_start_token_id"] = own["pad_token_id"]
