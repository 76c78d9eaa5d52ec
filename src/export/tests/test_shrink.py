import pytest
import transformers

from exporter.errors import ExportError
from exporter.shrink import HEADS, HIDDEN, LAYERS, VOCABULARY, _Ids, drops, shrink

CONFIGS = [
    transformers.BertConfig,
    transformers.CLIPConfig,
    transformers.DPTConfig,
    transformers.Gemma3TextConfig,
    transformers.LlamaConfig,
    transformers.MixtralConfig,
    transformers.Qwen2VLConfig,
    transformers.SiglipConfig,
    transformers.T5Config,
    transformers.WhisperConfig,
]


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_shrunk_config_is_taken_by_its_class_and_nothing_in_it_grew(
    config_class: type[transformers.PretrainedConfig],
) -> None:
    default = config_class()
    over = shrink(default, {})
    config_class(**over)
    for name, value in over.items():
        before = getattr(default, name, None)
        if type(value) is int and type(before) is int and not name.endswith("_id"):
            assert value < before, name


def test_sizes_are_small_and_heads_stay_grouped() -> None:
    over = shrink(transformers.MixtralConfig(), {})
    assert (over["hidden_size"], over["num_hidden_layers"], over["vocab_size"]) == (
        HIDDEN,
        LAYERS,
        VOCABULARY,
    )
    assert over["num_key_value_heads"] < over["num_attention_heads"] == HEADS
    assert over["num_local_experts"] > transformers.MixtralConfig().num_experts_per_tok


def test_what_the_spec_says_is_left_alone() -> None:
    said = {"hidden_size": 48, "num_hidden_layers": 3}
    assert not shrink(transformers.BertConfig(), said).keys() & said.keys()


def test_every_kind_of_layer_is_kept() -> None:
    default = transformers.Gemma3TextConfig()
    over = shrink(default, {})
    assert set(over["layer_types"]) == set(default.layer_types or [])
    assert len(over["layer_types"]) == over["num_hidden_layers"]


def test_a_list_with_a_number_for_every_layer_becomes_as_short_as_the_layers() -> None:
    default = transformers.LlamaConfig(num_hidden_layers=8)
    default.strides_of_layers = [1, 2, 3, 4, 5, 6, 7, 8]
    over = shrink(default, {})
    assert over["strides_of_layers"] == [1, 2]
    assert over["num_hidden_layers"] == LAYERS


def test_layers_to_take_outputs_from_are_as_many_as_before_and_there() -> None:
    default = transformers.DPTConfig()
    over = shrink(default, {})
    taken = over["backbone_out_indices"]
    assert len(taken) == len(list(default.backbone_out_indices or []))
    assert max(taken) < over["num_hidden_layers"]


def test_special_tokens_move_into_the_vocabulary_and_stay_apart() -> None:
    over = shrink(transformers.Qwen2VLConfig(), {})
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    ids = [over[name] for name in names]
    assert len(set(ids)) == len(ids)
    assert all(3 < token < VOCABULARY for token in ids)


def test_ids_that_the_spec_gave_are_not_given_again() -> None:
    over = shrink(transformers.Qwen2VLConfig(), {"image_token_id": 4})
    assert over["video_token_id"] != 4


def test_a_vocabulary_without_a_free_id_is_a_typed_error() -> None:
    ids = _Ids({f"extra{number}_token_id": number for number in range(VOCABULARY)})
    with pytest.raises(ExportError, match=f"more token ids than a vocabulary of {VOCABULARY}"):
        ids.give("image_token_id", 1)


def test_rotary_sections_add_up_to_half_a_head() -> None:
    default = transformers.Qwen2VLTextConfig()
    default.rope_parameters = {"rope_type": "default", "mrope_section": [16, 24, 24]}
    over = shrink(default, {})["rope_parameters"]
    assert sum(over["mrope_section"]) == HIDDEN // HEADS // 2
    assert over["rope_type"] == "default"


def test_texts_are_projected_to_the_width_of_images() -> None:
    over = shrink(transformers.SiglipConfig(), {})
    assert over["text_config"]["projection_size"] == over["vision_config"]["hidden_size"]


def test_a_decoder_without_a_first_token_starts_with_padding() -> None:
    assert (
        shrink(transformers.T5Config(), {})["decoder_start_token_id"] == transformers.T5Config().pad_token_id
    )


def test_what_a_config_does_not_know_is_dropped_at_every_depth() -> None:
    said = {"hidden_size": 32, "n_mels": 8, "odd_token_id": 3}
    assert drops(transformers.BertConfig(), said) == {"n_mels": None, "odd_token_id": None}
    deep = {"text_config": {"hidden_size": 32, "n_mels": 8}}
    assert drops(transformers.CLIPConfig(), deep) == {"text_config": {"n_mels": None}}


def test_sections_of_layers_add_up_to_all_of_them() -> None:
    config = transformers.DoryConfig(**shrink(transformers.DoryConfig(), {}))
    assert (config.n_input_layers, config.n_recurrent_layers, config.n_output_layers) == (1, 1, 1)
    assert config.num_hidden_layers == len(config.layer_types or []) == 3


def test_single_layers_stay_as_much_wider_as_they_were() -> None:
    over = shrink(transformers.EmbeddingGemma2TextConfig(), {})
    full = over["layer_types"].index("full_attention")
    assert over["per_layer_config"] == {
        str(full): {"head_dim": 2 * over["head_dim"], "num_key_value_heads": 1}
    }


def test_heads_that_share_no_keys_stay_so() -> None:
    over = shrink(transformers.BailingHybridConfig(), {})
    assert over["num_key_value_heads"] == over["num_attention_heads"]


def test_layers_that_another_part_takes_from_are_there_and_in_their_order() -> None:
    over = shrink(transformers.Molmo2Config(), {})
    assert over["adapter_config"]["vision_feature_layer"] == [1, 0]
    assert over["vision_config"]["num_hidden_layers"] == 2


def test_layers_that_the_whole_takes_from_its_tower_are_among_those_that_are_left() -> None:
    over = shrink(transformers.CLIPSegConfig(), {})
    layers = over["vision_config"]["num_hidden_layers"]
    assert over["extract_layers"] == [0, 1, 2]
    assert layers >= len(over["extract_layers"])


def test_heads_that_fill_an_expanded_width_still_do() -> None:
    over = shrink(transformers.Mamba2Config(), {"hidden_size": 32})
    assert over["num_heads"] * over["head_dim"] == transformers.Mamba2Config().expand * 32
    over = shrink(transformers.BambaConfig(mamba_expand=2), {"hidden_size": 32})
    assert over["mamba_n_heads"] * over["mamba_d_head"] == 2 * 32


def test_layers_are_enough_for_every_kind_of_a_pattern_that_repeats() -> None:
    default = transformers.RecurrentGemmaConfig()
    assert shrink(default, {"num_hidden_layers": 2})["num_hidden_layers"] == 3


def test_chunks_of_attention_are_shorter_than_a_row() -> None:
    assert shrink(transformers.Llama4TextConfig(), {})["attention_chunk_size"] == HIDDEN // HEADS
    assert "chunk_length" not in shrink(transformers.ReformerConfig(), {})


def test_as_many_groups_as_heads_stay_so_under_either_name() -> None:
    over = shrink(transformers.FalconConfig(num_kv_heads=71), {"num_attention_heads": HEADS})
    assert over["num_kv_heads"] == HEADS


def test_a_table_of_positions_has_room_for_a_row_whatever_it_is_called() -> None:
    assert shrink(transformers.BarkSemanticConfig(), {})["block_size"] == 64


def test_channels_of_layers_shrink_together_and_those_of_pictures_stay() -> None:
    over = shrink(transformers.EfficientNetConfig(), {})
    assert over["in_channels"][1:] == over["out_channels"][:-1]
    assert "num_channels" not in over


def test_stages_are_as_many_as_their_lists_say() -> None:
    over = shrink(transformers.ConvNextV2Config(), {})
    assert "num_stages" not in over
    assert len(over["hidden_sizes"]) == 4


def test_layers_that_the_spec_says_something_is_taken_from_are_left_alone() -> None:
    said = {"depth": 3, "deepstack_visual_indexes": [0, 1]}
    assert "deepstack_visual_indexes" not in shrink(transformers.Qwen3VLVisionConfig(), said)
    assert shrink(transformers.Qwen3VLVisionConfig(), {"depth": 3})["deepstack_visual_indexes"] == [0, 1, 2]


def test_as_many_layers_are_left_as_it_takes_for_one_of_each_computed_kind() -> None:
    config = transformers.JambaConfig()
    assert shrink(config, {})["num_hidden_layers"] == config.attn_layer_offset + 1
