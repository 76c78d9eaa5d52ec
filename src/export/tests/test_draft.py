import samples


def test_cases_are_the_traced_sizes_and_each_axis_at_its_second_size() -> None:
    job = samples.draft().job({"dims": {}, "new_tokens": 16})
    assert {case.name: case.sizes for case in job.cases} == {
        "traced": {"batch": 2, "sequence": 12},
        "batch": {"batch": 3, "sequence": 12},
        "sequence": {"batch": 2, "sequence": 19},
    }


def test_an_axis_per_another_grows_with_it_and_a_fixed_one_not_at_all() -> None:
    port = {**samples.TOKENS, "name": "pictures", "shape": ["images", "places"]}
    axes = {"images": {"per": "batch", "count": 2}, "places": {"size": 4}}
    draft = samples.draft(axes=axes, contract={"inputs": [samples.TOKENS, port]})
    sizes = {case.name: case.sizes for case in draft.job({"dims": {}, "new_tokens": 16}).cases}
    assert sizes["batch"] == {"batch": 3, "sequence": 12, "images": 6, "places": 4}
    assert "images" not in sizes
    assert "places" not in sizes


def test_axes_that_no_shape_has_are_left_out() -> None:
    draft = samples.draft(axes={"image": {"dynamic": [32, 48]}})
    assert draft.used_axes().keys() == {"batch", "sequence"}


def test_an_axis_that_another_is_counted_by_is_used() -> None:
    port = {**samples.TOKENS, "shape": ["images"]}
    draft = samples.draft(
        axes={"images": {"per": "batch", "count": 2}}, contract={"inputs": [port], "outputs": []}
    )
    assert draft.used_axes().keys() == {"images", "batch"}


def test_inputs_are_replaced_added_and_taken_away() -> None:
    draft = samples.draft(
        inputs={"pixel_values": {"shape": ["batch", 3], "fill": "normal"}}, without=["attention_mask"]
    )
    assert [port["name"] for port in draft.ports] == ["pixel_values", "input_ids"]
    assert draft.ports[0]["fill"] == {"kind": "normal"}


def test_inputs_of_the_base_count_for_its_own_task_alone() -> None:
    base = {"inputs": [samples.MASK]}
    assert samples.draft(base=base).ports == [samples.MASK]
    assert samples.draft("text-classification", base=base).ports == [samples.TOKENS, samples.MASK]


def test_generation_forgets_inputs_that_the_class_does_not_take() -> None:
    facts = {"grows": "input_ids", "mask": "attention_mask", "positions": "position_ids", "logits": "logits"}
    draft = samples.draft(contract={"generation": facts})
    generation = draft.job({"dims": {}, "new_tokens": 16}).generation
    assert generation is not None
    assert (generation.mask, generation.positions) == ("attention_mask", None)
    draft.omit["generates"] = "no decoder"
    assert draft.job({"dims": {}, "new_tokens": 16}).generation is None


def test_an_entry_says_only_what_differs_and_why() -> None:
    draft = samples.draft(config={"intermediate_size": 64}, reasons=["config intermediate_size: why"])
    entry = draft.to_json()
    assert entry["config"] == {"intermediate_size": 64}
    assert draft.whole_config == {"hidden_size": 32, "intermediate_size": 64}
    assert entry["reasons"] == ["model type bert", "config intermediate_size: why"]


def test_seed_and_padding_of_a_draft_go_before_its_base() -> None:
    data = {"dims": {}, "new_tokens": 16}
    plain, own = samples.draft().job(data), samples.draft(seed=2, padding="left").job(data)
    assert (plain.seed, plain.padding) == (0, "right")
    assert (own.seed, own.padding) == (2, "left")


def test_what_is_dropped_beside_what_another_entry_drops_is_dropped_by_name() -> None:
    alone, like = (samples.draft(without=["attention_mask"], like=like).to_json() for like in (None, "bert"))
    assert (alone["without"], alone["inputs"]) == (["attention_mask"], {})
    assert (like["without"], like["inputs"]) == ([], {"attention_mask": None})
