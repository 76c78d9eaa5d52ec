import pytest
import transformers

from exporter.errors import ExportError
from exporter.model import default_config
from exporter.overrides import MANY, carried, fewest, is_small, less, merged, paths, shapes
from exporter.shrink import shrink


def test_mappings_merge_at_every_depth() -> None:
    base = {"a": 1, "text_config": {"b": 2, "c": 3}}
    assert merged(base, {"text_config": {"c": 4}, "d": 5}) == {
        "a": 1,
        "text_config": {"b": 2, "c": 4},
        "d": 5,
    }
    assert base == {"a": 1, "text_config": {"b": 2, "c": 3}}


def test_null_takes_an_inherited_key_away_and_is_none_elsewhere() -> None:
    assert merged({"a": 1, "t": {"b": 2, "c": 3}}, {"a": None, "t": {"b": None}, "d": None}) == {
        "t": {"c": 3},
        "d": None,
    }


def test_a_value_replaces_a_mapping_and_a_mapping_a_value() -> None:
    assert merged({"a": {"b": 1}, "c": 2}, {"a": 3, "c": {"d": 4}}) == {"a": 3, "c": {"d": 4}}


def test_every_value_has_a_path_and_less_takes_it_away() -> None:
    config = {"a": 1, "t": {"b": 2, "u": {"c": 3}}, "empty": {}}
    assert list(paths(config)) == [("a",), ("t", "b"), ("t", "u", "c"), ("empty",)]
    # A mapping that becomes empty goes as well.
    assert less(config, ("t", "u", "c")) == {"a": 1, "t": {"b": 2}, "empty": {}}
    assert less({"t": {"b": 2}}, ("t", "b")) == {}
    for path in paths(config):
        assert path not in list(paths(less(config, path)))


def test_no_override_of_the_fewest_can_go() -> None:
    said = {"vocab_size": 128, "hidden_size": 32}
    over, _ = fewest("LlamaForCausalLM", said)
    full = merged(said, shrink(default_config(transformers.LlamaConfig), said))
    tiny = shapes(transformers.LlamaForCausalLM, merged(said, over))
    assert tiny is not None
    assert tiny == shapes(transformers.LlamaForCausalLM, full)
    assert not over.keys() & said.keys()
    for path in paths(over):
        without = transformers.LlamaConfig(**merged(said, less(over, path)))
        assert without.to_dict() != transformers.LlamaConfig(**merged(said, over)).to_dict()


def test_every_override_of_the_fewest_has_its_reason() -> None:
    over, reasons = fewest("LlamaForCausalLM", {"hidden_size": 32, "type_vocab_size": 2})
    assert over["type_vocab_size"] is None
    assert "config type_vocab_size: LlamaConfig has none" in reasons
    assert "config intermediate_size: 11008 in LlamaConfig, shrunk to 64" in reasons
    assert len(reasons) == len(list(paths(over)))


def test_a_class_without_a_default_config_names_what_to_do() -> None:
    with pytest.raises(
        ExportError, match="Gemma4AssistantConfig has no default: copy an entry that names its parts"
    ):
        fewest("Gemma4AssistantForCausalLM", {})


def test_a_config_that_its_class_refuses_has_no_shapes() -> None:
    assert shapes(transformers.LlamaForCausalLM, {"hidden_size": 33, "num_attention_heads": 4}) is None


def test_a_size_that_only_the_class_asks_for_is_filled_in() -> None:
    said = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    assert transformers.NemotronConfig().num_key_value_heads is None
    over, _ = fewest("NemotronForCausalLM", said)
    assert over["num_key_value_heads"] == 2
    assert "pad_token_id" not in over


def test_a_tuple_that_stays_as_it_is_is_no_override() -> None:
    config = transformers.PvtV2Config()
    over, _ = fewest("PvtV2ForImageClassification", {})
    same = [name for name, value in over.items() if value == list(getattr(config, name))]
    assert same == []


def test_layers_that_something_is_taken_from_are_said_though_no_shape_follows_them() -> None:
    said = {"vision_config": {"num_hidden_layers": 2}}
    config, _ = fewest("CLIPSegForImageSegmentation", said)
    assert config["extract_layers"] == [0, 1, 2]
    assert config["vision_config"]["num_hidden_layers"] == 3


def test_sizes_that_a_part_has_of_the_whole_are_said_where_it_is_made_anew() -> None:
    config, _ = fewest("ColPaliForRetrieval", {})
    assert config["vlm_config"]["text_config"]["num_key_value_heads"] == 1


def test_a_size_that_the_class_reads_and_its_config_does_not_declare_is_given() -> None:
    config, _ = fewest("MoonshineStreamingForConditionalGeneration", {})
    assert config["num_key_value_heads"] == 2
    model_class = transformers.MoonshineStreamingForConditionalGeneration
    assert shapes(model_class, config) is not None


def test_a_switch_that_the_class_asks_for_is_set() -> None:
    config, _ = fewest("ReformerModelWithLMHead", {})
    assert config["is_decoder"] is True


def test_how_far_attention_sees_is_said_though_no_shape_follows_it() -> None:
    config, _ = fewest("Llama4ForCausalLM", {})
    assert config["attention_chunk_size"] == 8
    config, _ = fewest("RecurrentGemmaForCausalLM", {})
    assert config["attention_window_size"] == 8


def test_what_is_carried_over_is_what_the_class_knows_where_that_makes_it_small() -> None:
    small: dict[str, object] = {"vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "intermediate_size": 8}
    assert carried("BertForMaskedLM", small | {"window": 4}) == {"window": None}
    assert carried("BertForMaskedLM", {}) is None


def test_a_model_is_small_where_it_has_few_parameters() -> None:
    layer = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 1}
    assert is_small("BertModel", {**layer, "vocab_size": MANY // 64})
    assert not is_small("BertModel", {**layer, "vocab_size": MANY // 16})
    assert not is_small("BertModel", {"hidden_size": 7})


def test_parts_are_made_of_what_is_known_of_them() -> None:
    parts = {"text_config": {"hidden_size": 24, "unknown": 1}}
    config, _ = fewest("CLIPModel", {}, parts)
    assert config["text_config"]["hidden_size"] == 24
    assert "unknown" not in config["text_config"]
