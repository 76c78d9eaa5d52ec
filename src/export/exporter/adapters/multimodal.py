"""Patches for language models that see or hear."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
)
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from .. import grids
from .common import Adapter, replaced, rewritten, shadowed


def _seeing(model: nn.Module) -> nn.Module:
    """The innermost part of a model that embeds images; the model where it has none."""
    parts = (part for part in model.modules() if hasattr(part, "get_image_features"))
    return [model, *parts][-1]


@contextmanager
def _grids_as_tensors(model: nn.Module) -> Iterator[None]:
    """Qwen2-VL and its kin, and split the features of all images into a list, to concatenate it again."""

    def get_image_features(
        self: nn.Module, pixel_values: Tensor, image_grid_thw: Tensor, **given: Any
    ) -> Any:
        given["return_dict"] = True
        features = self.visual(pixel_values.type(self.visual.dtype), grid_thw=image_grid_thw, **given)
        features.pooler_output = (features.pooler_output,)
        return features

    with (
        _patches_as_tensors(model),
        replaced(type(_seeing(model)), "get_image_features", get_image_features),
    ):
        yield


def _queries_by_number(model: nn.Module) -> AbstractContextManager[None]:
    """Aria looks up how many queries a count of patches gets; while tracing, counts are tensors, which no key equals.

    Its images have one size.
    """

    class ByNumber(dict):
        def __contains__(self, count: Any) -> bool:
            return super().__contains__(int(count))

        def __getitem__(self, count: Any) -> Any:
            return super().__getitem__(int(count))

    projector = model.model.multi_modal_projector
    return replaced(projector, "patch_to_query_dict", ByNumber(projector.patch_to_query_dict))


@contextmanager
def _features_unsplit(model: nn.Module) -> Iterator[None]:
    """Gemma 4 and VideoLLaMA 3 split the features of all images by a list, to concatenate the list again."""
    owner, original = type(_seeing(model)), torch.split

    def unsplit(tensor: Tensor, sizes: Any, dim: int = 0) -> Any:
        by_image = isinstance(sizes, list) and dim == 0
        return (tensor,) if by_image else original(tensor, sizes, dim)

    def whole(own: Callable[..., Any]) -> Callable[..., Any]:
        def features(*args: Any, **given: Any) -> Any:
            with replaced(torch, "split", unsplit):
                return own(*args, **given)

        return features

    with ExitStack() as stack:
        for name in ("get_image_features", "get_video_features"):
            if hasattr(owner, name):
                features = whole(getattr(owner, name))
                stack.enter_context(replaced(owner, name, features))
        yield


@contextmanager
def _means_of_merged_patches(model: nn.Module) -> Iterator[None]:
    """VideoLLaMA 3 makes the patches of each image fewer in a loop over a list, by `interpolate`.

    Bilinear, to a half of the size, it is the mean of each 2 x 2, which stand together in the row of patches; no
    processor merges more.
    """
    kind = next(type(m) for m in model.modules() if hasattr(m, "pixel_unshuffle"))

    def unshuffle(_: nn.Module, states: Tensor, _grid: Tensor, merge: Tensor) -> Tensor:
        return states.unflatten(0, (-1, merge[0] ** 2)).mean(1)

    with _patches_as_tensors(model), replaced(kind, "pixel_unshuffle", unshuffle):
        yield


def _positions_of_one_shape(model: nn.Module) -> AbstractContextManager[None]:
    """Cosmos 3 Edge resizes its position embeddings image by image; those of one shape share them."""
    owner = next(type(m) for m in model.modules() if hasattr(m, "resize_positional_embeddings"))
    own = owner.resize_positional_embeddings

    def resize(table: Tensor, grid: Tensor, merge: int) -> Tensor:
        return own(table, grid[:1], merge).repeat(grid.shape[0], 1)

    return replaced(owner, "resize_positional_embeddings", staticmethod(resize))


def _pictures_as_words(model: nn.Module) -> AbstractContextManager[None]:
    """Emu3 cuts the codes of every image to its size and turns them into words, in lists that a trace bakes.

    Images of one size go together; each row of codes ends with the word for it.
    """

    def get_image_features(
        self: nn.Module, pixel_values: Tensor, image_sizes: Tensor, **_: Any
    ) -> SimpleNamespace:
        eyes, words = self.vqmodel, self.vocabulary_mapping
        frames = pixel_values.to(eyes.dtype)[:, None]
        frames = frames.repeat(1, eyes.config.temporal_downsample_factor, 1, 1, 1)
        seen = eyes.quant_conv(eyes.encoder(frames).transpose(1, 2)).transpose(1, 2)
        height, width = (image_sizes[0] // eyes.vision_spatial_factor).tolist()
        codes = eyes.quantize(seen).squeeze(1)[:, :height, :width]
        written = words.img2bpe_mapping_tensor[codes]
        ends = torch.full_like(written[..., :1], words.eol_token_id)
        written = torch.cat([written, ends], -1).flatten()
        return SimpleNamespace(pooler_output=(self.get_input_embeddings()(written),))

    return replaced(type(model.model), "get_image_features", get_image_features)


def _features_in_one(model: nn.Module) -> AbstractContextManager[None]:
    """FastVLM lists the features of all images, and concatenates the list; a trace bakes its length."""

    def features(images: Tensor) -> list[Tensor]:
        return [images.flatten(0, 1)]

    return shadowed(sys.modules[type(model).__module__], "list", features)


def _pictures_in_one(model: nn.Module) -> AbstractContextManager[None]:
    """DeepSeek-OCR-2 and Step-3.7 list the features of every image, and concatenate the list; a trace bakes its length.

    One item holds all images in the same order, each followed by the separator where there is one. Local views
    (`pixel_values_local`) are not taken.
    """
    inner = model.model
    tower = getattr(inner, "vision_tower", None) or inner.vision_model

    def features(pixel_values: Tensor, *_: Any, **__: Any) -> SimpleNamespace:
        seen = inner.multi_modal_projector(tower(pixel_values).last_hidden_state)
        if hasattr(inner, "view_separator"):
            ends = inner.view_separator.expand(seen.shape[0], 1, -1)
            seen = torch.cat([seen, ends.to(seen)], dim=1)
        return SimpleNamespace(pooler_output=[seen.flatten(0, 1)])

    return replaced(inner, "get_image_features", features)


def _every_stacked_expert(model: nn.Module) -> AbstractContextManager[None]:
    """DeepSeek-OCR-2 loops over the experts that some token has chosen, and has no other implementation.

    A trace bakes which experts those were. All of them on all tokens, weighted, give the same sum.
    """
    kind = next(type(m) for m in model.modules() if type(m).__name__.endswith("TextExperts"))

    def forward(experts: Any, states: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        hot = nn.functional.one_hot(chosen, num_classes=experts.num_experts)
        shares = (hot * weights[..., None]).sum(1).to(states.dtype)
        gate, up = torch.einsum("th,eoh->eto", states, experts.gate_up_proj).chunk(2, -1)
        made = torch.einsum("eto,eho->eth", experts.act_fn(gate) * up, experts.down_proj)
        return (made * shares.t()[..., None]).sum(0)

    return replaced(kind, "forward", forward)


def _cameras_by_mask(model: nn.Module) -> AbstractContextManager[None]:
    """pi0 loops over the rows to leave cameras out that the mask hides; indexing by the mask takes the same ones."""
    inner = model.model

    def embed_prefix(ids: Tensor, pictures: Tensor, mask: Tensor, *_: Any) -> Tensor:
        features = inner.vlm.get_image_features(pictures.flatten(0, 1)).pooler_output
        seen = features.unflatten(0, (-1, mask.shape[1]))[mask]
        image = ids == inner.config.vlm_config.image_token_id
        words = inner.vlm.get_input_embeddings()(ids.masked_fill(image, 0))
        return words.masked_scatter(image[..., None], seen.to(words.dtype))

    return replaced(inner, "embed_prefix", embed_prefix)


@contextmanager
def _pictures_and_sounds_in_one(model: nn.Module) -> Iterator[None]:
    """Phi-4-multimodal lays out the crops of every image, and cuts every sound, in loops over the batch.

    Images of one size, as many of their patches shown by the mask, and sounds of one length go together.
    """
    module = sys.modules[type(model).__module__]
    eyes = module.Phi4MultimodalImageEmbedding
    ears = module.Phi4MultimodalAudioEmbedding

    def see(
        self: nn.Module,
        ids: Tensor,
        embeds: Tensor,
        image_pixel_values: Tensor,
        image_sizes: Tensor,
        image_attention_mask: Tensor,
    ) -> Tensor:
        mask = image_attention_mask
        seen = self.get_img_features(image_pixel_values.flatten(0, 1), mask.flatten(0, 1).to(torch.bool))
        side = int(self.num_img_tokens**0.5)
        seen = seen.unflatten(1, (side, side)).unflatten(0, mask.shape[:2])
        rows, columns = (image_sizes[0] // self.crop_size).unbind()
        crops = seen[:, 1:][:, : rows * columns].unflatten(1, (rows, columns))
        crops = crops.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        shown = mask[0, 1 : rows * columns + 1, ::2, ::2]
        shown = shown.unflatten(0, (rows, columns)).transpose(1, 2).flatten(2).flatten(0, 1)
        height, width = shown[:, 0].sum().long(), shown[0].sum().long()

        def ended(lines: Tensor) -> Tensor:
            ends = self.sub_img_feature_extensor.expand(*lines.shape[:2], 1, -1)
            return torch.cat([lines, ends], dim=2).flatten(1, 2)

        between = self.global_img_feature_extensor.expand(seen.shape[0], -1, -1)
        whole = ended(crops[:, :height, :width]), between, ended(seen[:, 0])
        shaped = nn.functional.gelu(self.img_projection_up(torch.cat(whole, dim=1)))
        features = self.img_projection_down(shaped).flatten(0, 1).to(embeds.dtype)
        image = ids == self.config.vision_config.image_token_id
        return embeds.masked_scatter(image[..., None], features)

    def hear(
        self: nn.Module,
        ids: Tensor,
        embeds: Tensor,
        audio_input_features: Tensor,
        audio_embed_sizes: Tensor,
        audio_attention_mask: Tensor | None = None,
        audio_projection_mode: str = "speech",
    ) -> Tensor:
        mode = "speech" if audio_projection_mode == "speech" else "vision_speech"
        up = getattr(self, f"up_proj_for_{mode}")
        down = getattr(self, f"down_proj_for_{mode}")
        heard = self.encoder(audio_input_features.to(up.bias.dtype), audio_attention_mask)
        features = down(nn.functional.gelu(up(heard)))[:, : audio_embed_sizes[0]]
        audio = ids == self.config.audio_config.audio_token_id
        return embeds.masked_scatter(audio[..., None], features.flatten(0, 1).to(embeds.dtype))

    with replaced(eyes, "forward", see), replaced(ears, "forward", hear):
        yield


@contextmanager
def _patches_as_tensors(model: nn.Module) -> Iterator[None]:
    """Positions of patches, windows and segments of attention are computed in Python, image by image."""
    attentions = [
        part
        for part in model.modules()
        if "cu_seqlens" in inspect.signature(part.forward).parameters
        and not hasattr(part, "attn")
        and any(hasattr(part, name) for name in ("qkv", "q_proj", "q"))
    ]
    # Some classes see with the eyes of another's module.
    modules = {sys.modules[type(part).__module__] for part in model.modules()}
    with ExitStack() as stack:
        for module in modules:
            if hasattr(module, "get_vision_position_ids"):
                stack.enter_context(replaced(module, "get_vision_position_ids", grids.patch_positions))
            if hasattr(module, "get_vision_window_index"):
                stack.enter_context(replaced(module, "get_vision_window_index", grids.window_order))
            if hasattr(module, "eager_attention_forward"):
                eager = grids.masked(module.eager_attention_forward)
                stack.enter_context(replaced(module, "eager_attention_forward", eager))
        owner = type(_seeing(model))
        if hasattr(owner, "get_rope_index"):
            stack.enter_context(replaced(owner, "get_rope_index", grids.token_positions))
        stack.enter_context(grids.in_one_segment(attentions))
        yield


def _kimi_features(model: nn.Module) -> AbstractContextManager[None]:
    """Kimi K2.5 lists the features of every image, to concatenate them again."""

    def get_image_features(self: nn.Module, pixel_values: Tensor, image_grid_thw: Tensor, **_: Any) -> Any:
        seen = self.vision_tower(pixel_values, grid_thw=image_grid_thw)
        seen.pooler_output = (self.mm_projector(seen.pooler_output).squeeze(1),)
        return seen

    return replaced(type(model.model), "get_image_features", get_image_features)


@contextmanager
def _kimi_pictures(model: nn.Module) -> Iterator[None]:
    """Kimi K2.5 lists the places of patches image by image. A picture has one frame: no time, no mean over frames."""
    module = sys.modules[type(model).__module__]

    def frames(grid: Tensor, **_: Any) -> Tensor:
        return torch.zeros(grid.prod(-1).sum(), dtype=torch.int64)

    def blocks(grid: Tensor, rows: int, columns: int, **_: Any) -> Tensor:
        return grids.merged_order(grid, rows).view(-1, 1, rows * columns)

    with (
        _patches_as_tensors(model),
        replaced(module, "get_vision_frame_index", frames),
        replaced(module, "get_vision_temporal_merge_index", blocks),
    ):
        yield


@contextmanager
def _packed_pictures(model: nn.Module) -> Iterator[None]:
    """MiniCPM-V 4.6 lists the places of patches, and merges them, image by image; its images have one size."""
    module = sys.modules[type(model).__module__]

    def nearest(sizes: Tensor, side: int, **_: Any) -> Tensor:
        height, width = sizes[0].unbind()
        bounds = torch.arange(1 / side, 1.0, 1 / side)
        row, column = (
            torch.bucketize(torch.arange(length) / length, bounds, right=True) for length in (height, width)
        )
        return (row[:, None] * side + column).flatten().repeat(sizes.shape[0])

    def merged(sizes: Tensor, window: tuple[int, int], **_: Any) -> tuple[Any, ...]:
        return tuple(length // side for length, side in zip(sizes[0].unbind(), window, strict=True))

    def merge(self: nn.Module, states: Tensor, sizes: Tensor) -> list[Tensor]:
        images = states[0].unflatten(0, (sizes.shape[0], -1))

        def blocks_merged(part: Tensor) -> Tensor:
            (rows, columns), (high, wide) = sizes[0].unbind(), self.merge_kernel_size
            for mlp in self.mlp:
                rows, columns = rows // high, columns // wide
                blocks = part.view(-1, rows, high, columns, wide, part.shape[-1])
                part = mlp(blocks.transpose(2, 3).flatten(3).flatten(0, 2))
            return part

        # In two calls, as the traced case's two images are merged in eager Python: the layers' outputs are compared.
        return [blocks_merged(images[:1]), blocks_merged(images[1:])]

    with (
        _patches_as_tensors(model),
        replaced(module, "get_vision_nearest_position_ids", nearest),
        replaced(module, "get_vision_merged_shape", merged),
        replaced(module.MiniCPMV4_6Merger, "forward", merge),
    ):
        yield


@contextmanager
def _source_before_target(model: nn.Module) -> Iterator[None]:
    """GLM-Image takes the grids of every sample apart, and its images one by one, in lists.

    Every sample has one image, all of one size, and the grid of what is to be drawn.
    """
    owner = type(model.model)
    split = r"if images_per_sample is not None:.*?source_grids = image_grid_thw\[:-1\]"
    sources = "source_grids = image_grid_thw.unflatten(0, (batch_size, -1))[:, 0]"

    def get_image_tokens(self: nn.Module, states: Tensor, grid: Tensor) -> Tensor:
        _, height, width = grid[0].unbind()
        images = states.unflatten(0, (grid.shape[0], height, width))
        return self.vqmodel.encode(images.permute(0, 3, 1, 2)).image_tokens

    def get_rope_index(
        self: nn.Module,
        input_ids: Tensor,
        image_grid_thw: Tensor,
        attention_mask: Tensor,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        real = attention_mask.bool()
        begin = (real & (input_ids == self.config.image_start_token_id)).long()
        end = (real & (input_ids == self.config.image_end_token_id)).long()
        inside = begin.cumsum(1) - begin - end.cumsum(1)
        grid = image_grid_thw.unflatten(0, (input_ids.shape[0], -1))[:, 0]
        positions, deltas = grids.token_positions(
            self, input_ids, inside, grid, attention_mask=attention_mask
        )
        return positions.masked_fill(~real, 1), torch.zeros_like(deltas)

    with (
        _grids_as_tensors(model),
        replaced(owner, "get_image_tokens", get_image_tokens),
        replaced(owner, "get_rope_index", get_rope_index),
        replaced(owner, "forward", rewritten(owner.forward, {split: sources})),
    ):
        yield


def _muse_features(model: nn.Module) -> AbstractContextManager[None]:
    """Muse Glimmer splits the features of all images into a list, to concatenate them again."""

    def get_image_features(self: nn.Module, pixel_values: Tensor, image_grid_thw: Tensor, **_: Any) -> Any:
        seen = self.vision_tower(pixel_values=pixel_values, grid_thw=image_grid_thw)
        features = self.vision_projection(self.vision_adapter(seen.last_hidden_state))
        seen.pooler_output = (self.perception_emb_norm(features),)
        return seen

    return replaced(type(model.model), "get_image_features", get_image_features)


@contextmanager
def _muse_pictures(model: nn.Module) -> Iterator[None]:
    """Muse Glimmer lists the places of patches image by image."""
    module = sys.modules[type(model).__module__]

    def blocks(grid: Tensor, merge: int, **_: Any) -> Tensor:
        return grids.merged_order(grid, merge)

    with (
        _patches_as_tensors(model),
        replaced(module, "get_vision_pixel_shuffle_index", blocks),
    ):
        yield


@contextmanager
def _pictures_on_top_of_each_other(model: nn.Module) -> Iterator[None]:
    """Pixtral inside Mistral 3 and LightOnOCR takes images one by one, in lists that a trace bakes.

    Images of one size, one below the other, are one image to the class's own code; rows of patches count
    from the top of their own image, and attention keeps to it.
    """
    tower = next(m for m in model.modules() if type(m).__name__ == "PixtralVisionModel")
    pixtral, owner = sys.modules[type(tower).__module__], type(model.model)
    own = owner.get_image_features

    def get_image_features(self: nn.Module, pixel_values: Tensor, image_sizes: Tensor, **given: Any) -> Any:
        height, width = image_sizes[0].unbind()
        rows, columns = height // tower.patch_size, width // tower.patch_size
        count = torch.ones_like(image_sizes[:, 0]).sum()
        size = torch.stack([height * count, width])[None]
        tall = pixel_values.transpose(0, 1).flatten(1, 2)[None]

        def within(_m: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            row, column = args[1].unbind(-1)
            return args[0], torch.stack([row % rows, column], -1)

        def apart(_sizes: Any, patches: Tensor) -> Tensor:
            image = torch.arange(patches.shape[1]) // (rows * columns)
            lowest = torch.finfo(patches.dtype).min
            other = image[:, None] != image
            return torch.zeros_like(other, dtype=patches.dtype).masked_fill(other, lowest)[None, None]

        hook = tower.patch_positional_embedding.register_forward_pre_hook(within)
        try:
            with (
                replaced(pixtral, "generate_block_attention_mask", apart),
                replaced(Tensor, "tolist", lambda numbers: list(numbers.unbind())),
            ):
                return own(self, tall, size, **given)
        finally:
            hook.remove()

    with replaced(owner, "get_image_features", get_image_features):
        yield


def _tokens_by_block(model: nn.Module) -> AbstractContextManager[None]:
    """Qwen4's indexer chooses, row by row and query by query in Python, the blocks of earlier tokens that it sees.

    Blocks are made of real tokens in their order, so they are the same for all queries: only how many of them
    are complete differs. What comes after the last complete one is always seen.
    """
    kind = next(type(m) for m in model.modules() if type(m).__name__.endswith("QSAIndexer"))
    rotate = sys.modules[kind.__module__].apply_rotary_pos_emb

    def forward(self: Any, states: Tensor, angles: Any, attention_mask: Tensor, _cache: None) -> Tensor:
        cos, sin = angles
        ratio, width = self.compress_ratio, self.index_head_dim
        queries, keys = self.index_qk_proj(states).split(
            [self.index_n_heads * width, self.index_kv_heads * width], -1
        )
        queries = self.q_layernorm(queries.unflatten(-1, (-1, width)))
        queries = rotate(queries, cos=cos, sin=sin, unsqueeze_dim=2)
        seen = (attention_mask == 0)[:, 0]
        real = seen[:, -1]
        order = torch.argsort((~real).long(), dim=-1, stable=True)
        blocks = keys.shape[1] // ratio
        order = order[:, : blocks * ratio].unflatten(-1, (-1, ratio))
        rows = torch.arange(keys.shape[0])[:, None]
        pooled = keys[rows[..., None], order].float().mean(2).to(keys.dtype)
        starts = order[..., 0]
        pooled = rotate(
            self.k_layernorm(pooled)[:, :, None],
            cos=cos[rows, starts],
            sin=sin[rows, starts],
            unsqueeze_dim=2,
        )[:, :, 0]
        scores = torch.einsum("bshd,bkd->bskh", queries.float(), pooled.float())
        scores = torch.relu(scores).sum(-1) / width**0.5
        complete = seen.sum(-1, keepdim=True) // ratio
        ready = torch.arange(blocks) < complete
        best = scores.masked_fill(~ready, float("-inf")).topk(min(self.block_topk, blocks)).indices
        chosen = torch.zeros_like(scores).scatter(-1, best, 1.0).bool() & ready
        block = ((real.cumsum(-1) - 1).clamp(min=0) // ratio)[:, None].expand_as(seen)
        kept = chosen.gather(-1, block.clamp(max=blocks - 1)) | (block >= complete)
        lowest = torch.finfo(attention_mask.dtype).min
        hidden = ~(kept & seen)
        return torch.zeros_like(hidden, dtype=attention_mask.dtype).masked_fill(hidden, lowest)[:, None]

    return replaced(kind, "forward", forward)


@contextmanager
def _pictures_of_one_shape(model: nn.Module) -> Iterator[None]:
    """LFM2-VL resizes positions and projects patches image by image, in lists that a trace bakes.

    Images of one shape, without padding, are all resized and projected alike.
    """
    owner = type(model.model)
    resizer = next(m for m in model.modules() if hasattr(m, "resize_positional_embeddings"))
    own = resizer.resize_positional_embeddings

    def resize(table: Tensor, shapes: Tensor, max_length: Any) -> Tensor:
        return own(table, shapes[:1], max_length).expand(shapes.shape[0], -1, -1)

    def get_image_features(
        self: nn.Module,
        pixel_values: Tensor,
        spatial_shapes: Tensor,
        pixel_attention_mask: Tensor,
        **_: Any,
    ) -> Any:
        seen = self.vision_tower(
            pixel_values=pixel_values,
            spatial_shapes=spatial_shapes,
            pixel_attention_mask=pixel_attention_mask,
            return_dict=True,
        )
        patches = seen.last_hidden_state.unflatten(1, tuple(spatial_shapes[0].tolist()))
        seen.pooler_output = [self.multi_modal_projector(patches).flatten(0, 2)]
        return seen

    with (
        replaced(owner, "get_image_features", get_image_features),
        replaced(resizer, "resize_positional_embeddings", resize),
    ):
        yield


@contextmanager
def _ernie_pictures(model: nn.Module) -> Iterator[None]:
    """Ernie 4.5 VL pairs every second frame with the one after it, in lists; a picture's one frame with itself."""

    def get_image_features(self: nn.Module, pixel_values: Tensor, image_grid_thw: Tensor, **_: Any) -> Any:
        seen = self.vision_tower(pixel_values, image_grid_thw, return_dict=True)
        seen.pooler_output = (self.resampler_model(seen.last_hidden_state, image_grid_thw),)
        return seen

    def with_itself(_self: nn.Module, states: Tensor, _grid: Tensor) -> Tensor:
        return torch.cat([states, states], -1)

    with (
        _patches_as_tensors(model),
        replaced(type(model.model), "get_image_features", get_image_features),
        replaced(type(model.model.resampler_model), "_temporal_slicing", with_itself),
    ):
        yield


@contextmanager
def _paddle_pictures(model: nn.Module) -> Iterator[None]:
    """PaddleOCR-VL merges patches image by image, in a list that a trace bakes; one gathering takes them all."""

    def get_image_features(self: nn.Module, pixel_values: Tensor, image_grid_thw: Tensor, **_: Any) -> Any:
        seen = self.visual(pixel_values=pixel_values[None], grid_thw=image_grid_thw, return_dict=True)
        seen.pooler_output = (self.projector(seen.last_hidden_state, image_grid_thw),)
        return seen

    def project(self: Any, patches: Tensor, grid: Tensor) -> Tensor:
        rows, columns = self.merge_kernel_size
        ordered = self.pre_norm(patches)[grids.merged_order(grid, rows)]
        merged = ordered.reshape(-1, rows * columns * patches.shape[-1])
        return self.linear_2(self.act(self.linear_1(merged)))

    with (
        _patches_as_tensors(model),
        replaced(type(model.model), "get_image_features", get_image_features),
        replaced(type(model.model.projector), "forward", project),
    ):
        yield


@contextmanager
def _hunyuan_tower(model: nn.Module) -> Iterator[None]:
    """HunYuan VL embeds and merges the patches of each image in a loop over a list; those of one shape go together."""
    tower = next(m for m in model.modules() if hasattr(m, "patch_merger"))
    embeddings, merger, original = tower.embeddings, tower.patch_merger, torch.split
    own = merger.forward

    def embed(pixel_values: Tensor, grid: Tensor) -> Tensor:
        config = embeddings.config
        pixels = pixel_values.unflatten(-1, (config.num_channels, config.patch_size, config.patch_size))
        patches = embeddings.patch_embedding(pixels).flatten(1)
        _, rows, columns = grid[0].tolist()
        places = embeddings.interpolate_pos_encoding(patches, rows, columns)
        return (patches.unflatten(0, (-1, rows * columns)) + places).flatten(0, 1)[None]

    def merge(states: Tensor, size: tuple[int, int]) -> Tensor:
        images = states[0].unflatten(0, (-1, size[0] * size[1]))
        return own(images, size).flatten(0, 1)[None]

    def unsplit(tensor: Tensor, sizes: Any, dim: int = 0) -> Any:
        return (tensor,) if dim == 1 else original(tensor, sizes, dim)

    with (
        _patches_as_tensors(model),
        replaced(embeddings, "forward", embed),
        replaced(merger, "forward", merge),
        replaced(torch, "split", unsplit),
    ):
        yield


def _hunyuan_positions(model: nn.Module) -> AbstractContextManager[None]:
    """HunYuan VL counts positions row by row in Python: words one after the other, and images by their places.

    The last three axes of an image's token are its column, its row and the number of the image; its first and last
    token are as words, and each of its rows has a token more than it has merged patches.
    """

    def get_rope_index(
        self: nn.Module,
        input_ids: Tensor,
        mm_token_type_ids: Tensor,
        image_grid_thw: Tensor,
        attention_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        merge = self.config.vision_config.spatial_merge_size
        axes = len(self.config.text_config.rope_parameters["mrope_section"])
        real = attention_mask.bool()
        words = real.cumsum(-1) - 1
        _, rows, columns = (image_grid_thw // merge).unbind(-1)
        columns = columns + 1
        ends = (rows * columns + 2).cumsum(0)
        here = real & (mm_token_type_ids == 1)
        order = (here.flatten().cumsum(0) - 1).clamp(min=0).view_as(input_ids)
        image = torch.searchsorted(ends, order, right=True).clamp(max=ends.shape[0] - 1)
        place = order - nn.functional.pad(ends[:-1], (1, 0))[image] - 1
        rows, columns = rows[image], columns[image]
        inside = here & (place >= 0) & (place < rows * columns)
        seen = [place % columns, place // columns, image]
        positions = torch.stack([words] * (axes - 3) + [torch.where(inside, own, words) for own in seen])
        positions = positions * real
        return positions, (positions.amax((0, 2)) + 1 - real.sum(-1))[:, None]

    return replaced(type(model.model), "get_rope_index", get_rope_index)


@contextmanager
def _omni_inputs(model: nn.Module) -> Iterator[None]:
    """Qwen's Omni models cut sounds into chunks, and count positions of tokens, in lists that a trace bakes.

    Sounds of whole windows are cut by reshaping. Sounds count up as words do, so that positions are those of the
    other Qwen models that see.
    """
    module, owner = sys.modules[type(model).__module__], type(model)

    def chunks(sounds: Tensor, _frames: Tensor, half: int, **_: Any) -> tuple[Tensor, Tensor]:
        cut = sounds.transpose(0, 1).reshape(-1, 2 * half, sounds.shape[0])
        return cut.transpose(1, 2), torch.full_like(cut[:, 0, 0], 2 * half).long()

    def windows(lengths: Tensor, _frames: Tensor, infer: int, half: int, **_: Any) -> Tensor:
        ends = module._get_feat_extract_output_lengths(lengths, half).cumsum(0)
        together = infer // (2 * half)
        return nn.functional.pad(ends[together - 1 :: together], (1, 0)).int()

    def get_rope_index(
        self: nn.Module,
        input_ids: Tensor,
        image_grid_thw: Tensor,
        _videos: None,
        attention_mask: Tensor,
        *_: Any,
    ) -> tuple[Tensor, Tensor]:
        kinds = (input_ids == self.config.image_token_id).long()
        return grids.token_positions(self, input_ids, kinds, image_grid_thw, attention_mask=attention_mask)

    with (
        replaced(module, "chunk_and_pad_features", chunks),
        replaced(module, "get_audio_cu_seqlens", windows)
        if hasattr(model.audio_tower, "n_window_infer")
        else nullcontext(),
        replaced(owner, "get_rope_index", get_rope_index),
    ):
        yield


def _video_beside_audio(model: nn.Module) -> AbstractContextManager[None]:
    """PE audio-video stretches each row's frames to its sound, row by row in Python, which bakes rows and lengths.

    `PeAudioVideoEncoderEmbedder._align_video_hidden_state` by one gathering: `interpolate` to the nearest takes the
    frame below `place * frames / places`, computed in float32.
    """
    embedder = next(m for m in model.modules() if hasattr(m, "concat_modality_proj"))

    def align(
        video_hidden_state: Tensor,
        audio_hidden_state: Tensor,
        padding_mask_videos: Tensor,
        padding_mask: Tensor,
    ) -> Tensor:
        frames, places = padding_mask_videos.sum(-1), padding_mask.sum(-1)
        place = torch.arange(audio_hidden_state.shape[1])
        scale = frames.float() / places
        frame = (place * scale[:, None]).long().clamp(max=frames[:, None] - 1)
        index = frame[..., None].expand(-1, -1, video_hidden_state.shape[-1])
        return video_hidden_state.gather(1, index) * (place < places[:, None])[..., None].to(
            video_hidden_state.dtype
        )

    return replaced(embedder, "_align_video_hidden_state", align)


ADAPTERS: dict[str, list[Adapter]] = {
    "aria": [_queries_by_number],
    "cohere_compass": [_grids_as_tensors],
    "cohere_compass_vision": [_patches_as_tensors],
    "colqwen2": [_patches_as_tensors],
    "cosmos3_edge": [_patches_as_tensors, _positions_of_one_shape, _features_unsplit],
    "cosmos3_edge_vision": [_patches_as_tensors, _positions_of_one_shape],
    "cosmos3_omni": [_grids_as_tensors],
    "deepseek_ocr2": [_every_stacked_expert, _pictures_in_one],
    "diffusion_gemma": [_features_unsplit],
    "emu3": [_pictures_as_words],
    "ernie4_5_vl_moe": [_ernie_pictures],
    "exaone4_5": [_grids_as_tensors],
    "exaone4_5_vision": [_patches_as_tensors],
    "fast_vlm": [_features_in_one],
    "gemma4": [_features_unsplit],
    "gemma4_unified": [_features_unsplit],
    "glm46v": [_grids_as_tensors],
    "glm4v": [_grids_as_tensors],
    "glm4v_moe": [_grids_as_tensors],
    "glm4v_moe_vision": [_patches_as_tensors],
    "glm4v_vision": [_patches_as_tensors],
    "glm5_next": [_grids_as_tensors],
    "glm5_next_vision": [_patches_as_tensors],
    "glm_ocr": [_grids_as_tensors],
    "glm_ocr_vision": [_patches_as_tensors],
    "glm_image": [_source_before_target],
    "glm_image_vision": [_patches_as_tensors],
    "hunyuan_vl": [_hunyuan_tower, _hunyuan_positions],
    "hunyuan_vl_vision": [_hunyuan_tower],
    "kimi_k25": [_kimi_pictures, _kimi_features],
    "kimi_k25_vision": [_kimi_pictures],
    "lfm2_vl": [_pictures_of_one_shape],
    "lighton_ocr": [_pictures_on_top_of_each_other],
    "minicpmv4_6": [_packed_pictures],
    "minimax_m3_vl": [_patches_as_tensors],
    "mistral3": [_pictures_on_top_of_each_other],
    "muse_glimmer": [_muse_pictures, _muse_features],
    "muse_glimmer_vision": [_muse_pictures],
    "paddleocr_vl": [_paddle_pictures],
    "pe_audio_video": [_video_beside_audio],
    "pe_audio_video_encoder": [_video_beside_audio],
    "phi4_multimodal": [_pictures_and_sounds_in_one],
    "pi0": [_cameras_by_mask],
    "qwen2_5_vl": [_grids_as_tensors],
    "qwen2_5_omni_thinker": [_grids_as_tensors, _omni_inputs],
    "qwen2_vl": [_grids_as_tensors],
    "qwen3_5": [_grids_as_tensors],
    "qwen3_5_moe": [_grids_as_tensors],
    "qwen3_5_vision": [_patches_as_tensors],
    "qwen3_5_moe_vision": [_patches_as_tensors],
    "qwen3_omni_moe_thinker": [_grids_as_tensors, _omni_inputs],
    "qwen3_vl": [_grids_as_tensors],
    "qwen3_vl_moe": [_grids_as_tensors],
    "qwen3_vl_vision": [_patches_as_tensors],
    "qwen3_vl_moe_vision": [_patches_as_tensors],
    "qwen4_exp": [_grids_as_tensors, _tokens_by_block],
    "qwen4_exp_text": [_tokens_by_block],
    "qwen4_exp_vision": [_patches_as_tensors],
    "video_llama_3": [_means_of_merged_patches, _features_unsplit],
    "video_llama_3_vision": [_means_of_merged_patches],
    "step3p7": [_pictures_in_one],
}
