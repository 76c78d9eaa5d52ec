use super::*;
use crate::spec::Entry;
use crate::task::{FillMask, Range, Text, TextGeneration, input, mask, named, output, positions, tokens};

const ROWS: Shape = &[named("batch"), named("sequence")];
const CODES: Shape = &[named("batch"), named("sequence"), named("codes")];
const POOLED: Shape = &[named("batch"), named("vocabulary")];
const FAMILY: &str = "
family: text
defaults: {axes: {batch: [2, 3], sequence: [5, 7]}, config: {vision_config: {image_size: 32}}}
models:
  - {name: gpt2, class: GPT2LMHeadModel, task: text-generation, padding: left}
  - name: vlm
    class: Vlm
    task: image-text-to-text
    axes: {images: {per: batch, count: 2}, image: {size: 32, fixed: learned positions}}
";

fn spec() -> Spec {
    let versions =
        "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}";
    let file = |name: &str, text: &str| (Path::new("spec").join(name), text.as_bytes().to_vec());
    spec::parse(&[file("text.yaml", FAMILY), file("versions.yaml", versions)], spec::today()).unwrap()
}

/// What is said of an entry's module: once the entry was changed, and then its module.
fn said(
    name: &str,
    change_entry: impl FnOnce(&mut Entry),
    change_module: impl FnOnce(&mut ModelSpec),
) -> Result<(), String> {
    let Spec { mut entries, versions, .. } = spec();
    let entry = entries.iter_mut().find(|entry| entry.name.as_str() == name).unwrap();
    change_entry(entry);
    let subject = RuntimeSpec::new(entry, &versions);
    let mut model = subject.model();
    change_module(&mut model);
    Wiring { model: &model, contract: entry.task, subject: &subject }.holds()
}

/// The same of a GPT-2 whose entry, and with it the module, was changed.
fn said_of(change: impl FnOnce(&mut Entry)) -> String {
    said("gpt2", change, |_| {}).unwrap_err()
}

#[test]
fn what_fits_together_is_wired() {
    for name in ["gpt2", "vlm"] {
        assert_eq!(said(name, |_| {}, |_| {}), Ok(()));
    }
}

const RANK: &[Output] = &[output("logits", Dtype::Float32, ROWS, Range::Finite)];

#[test]
fn a_module_that_is_not_the_specs_is_told_by_what_differs() {
    let said = |change: fn(&mut ModelSpec)| said("gpt2", |_| {}, change).unwrap_err();
    let differs = |key: &str| format!("the module and the spec differ in {key}; run: cargo build");
    assert_eq!(said(|model| model.outputs = RANK), differs("outputs"));
    assert_eq!(said(|model| model.inputs = &model.inputs[..1]), differs("inputs"));
    assert_eq!(said(|model| model.axes = &model.axes[1..]), differs("axes"));
    assert_eq!(said(|model| model.class = "GPT2Model"), differs("class"));
    assert_eq!(said(|model| model.digest = ""), differs("digest"));
}

#[test]
fn a_module_of_another_task_is_told() {
    let Spec { entries, versions, .. } = spec();
    let subject = RuntimeSpec::new(&entries[0], &versions);
    let wiring = Wiring { model: &subject.model(), contract: &FillMask::CONTRACT, subject: &subject };
    assert_eq!(wiring.holds().unwrap_err(), "the module and the spec differ in task; run: cargo build");
}

#[test]
fn a_module_without_an_entry_is_told() {
    let Spec { entries, versions, .. } = spec();
    let subject = RuntimeSpec::new(&entries[0], &versions);
    let model = ModelSpec { name: "no-such-model", ..subject.model() };
    let said = of_spec(&model, &TextGeneration::CONTRACT).unwrap_err();
    assert_eq!(said, "the spec has no entry of that name; run: cargo build");
}

#[test]
fn cases_that_are_not_the_axes_are_told() {
    let Spec { entries, versions, .. } = spec();
    let entry = entries.iter().find(|entry| entry.name.as_str() == "vlm").unwrap();
    let subject = RuntimeSpec::new(entry, &versions);
    let model = subject.model();
    let said = |change: fn(&mut Vec<Case>)| {
        let mut cases = entry.cases();
        change(&mut cases);
        Wiring { model: &model, contract: entry.task, subject: &subject }.cases(&cases).unwrap_err()
    };
    assert_eq!(
        said(|cases| cases.swap(0, 1)),
        "the cases are batch, traced, sequence, not traced, batch, sequence"
    );
    assert_eq!(said(|cases| drop(cases.pop())), "the cases are traced, batch, not traced, batch, sequence");
    assert_eq!(
        said(|cases| cases.push(cases[1].clone())),
        "the cases are traced, batch, sequence, batch, not traced, batch, sequence"
    );
    let resized = |name: &str, size: usize| {
        let mut cases = entry.cases();
        cases[1].sizes.insert(name.to_owned(), size);
        Wiring { model: &model, contract: entry.task, subject: &subject }.cases(&cases).unwrap_err()
    };
    assert_eq!(resized("images", 4), "case batch: images is 4, not 6");
    assert_eq!(resized("batch", 2), "case batch: batch is 2, not 3");
    assert_eq!(resized("sequence", 7), "case batch: sequence is 7, not 5");
    assert_eq!(resized("image", 31), "case batch: image is 31, not 32");
}

#[test]
fn sizes_of_the_call_that_the_config_contradicts_are_told() {
    let image = |size: usize| {
        let reason = Text("learned positions");
        said("vlm", |entry| _ = entry.axes.insert("image".into(), Axis::Fixed { size, reason }), |_| {})
    };
    assert_eq!(image(48).unwrap_err(), "case traced: image is 48, but 32 in the config");
    let labels = said_of(|entry| {
        entry.axes.insert("vocabulary".into(), Axis::Dynamic { traced: 8, second: 9 });
        entry.config.insert("vocab_size".into(), 8.into());
    });
    assert_eq!(labels, "case vocabulary: vocabulary is 9, but 8 in the config");
}

#[test]
fn a_batch_of_one_row_proves_nothing_of_rows() {
    let one = said_of(|entry| _ = entry.axes.insert("batch".into(), Axis::Dynamic { traced: 1, second: 2 }));
    assert_eq!(one, "batch_invariant: the traced batch is one row");
}

#[test]
fn an_output_that_follows_what_no_input_has_is_told() {
    const TOKENS: Shape = &[named("batch"), named("tokens")];
    let renamed = said_of(|entry| entry.inputs.iter_mut().for_each(|input| input.shape = TOKENS));
    assert_eq!(renamed, "logits is [batch, sequence, vocabulary] by the task, but no input has sequence");
}

#[test]
fn padding_without_a_mask_is_told() {
    let said = said_of(|entry| entry.inputs.retain(|input| input.fill != Fill::Mask));
    assert_eq!(said, "the entry pads, but no input is a mask");
}

#[test]
fn a_mask_of_another_shape_than_its_tokens_is_told() {
    const LONGER: Shape = &[named("batch"), named("joined")];
    let alone = said_of(|entry| entry.inputs[1] = mask("attention_mask", LONGER));
    assert_eq!(alone, "attention_mask [batch, joined] lies over no other input");
    let beside = said_of(|entry| {
        entry.inputs[1] = mask("attention_mask", LONGER);
        entry.inputs[2] = positions("position_ids", LONGER);
    });
    assert_eq!(beside, "attention_mask is [batch, joined], but input_ids is [batch, sequence]");
}

#[test]
fn causal_without_tokens_or_an_output_that_follows_them_is_told() {
    let no_tokens = said_of(|entry| entry.inputs[0] = tokens("tokens", ROWS));
    assert_eq!(no_tokens, "causal: there is no input input_ids");
    let rank = said_of(|entry| entry.inputs[0] = tokens("input_ids", CODES));
    assert!(rank.starts_with("attention_mask is [batch, sequence], but input_ids is"), "{rank}");
    let still = said_of(|entry| entry.outputs[0] = output("logits", Dtype::Float32, POOLED, Range::Finite));
    assert_eq!(still, "causal: no output follows input_ids [batch, sequence]");
}

#[test]
fn generation_that_names_what_is_not_there_is_told() {
    let said_of = |change: fn(&mut Entry)| {
        said_of(|entry| {
            entry.omit.insert(Check::Causal, "generation alone is looked at".to_owned());
            change(entry);
        })
    };
    let no_tokens = said_of(|entry| entry.inputs[0] = tokens("tokens", ROWS));
    assert_eq!(no_tokens, "generates: there is no input input_ids");
    let floats = said_of(|entry| entry.inputs[0] = input("input_ids", Dtype::Float32, ROWS, Fill::Normal));
    assert_eq!(floats, "generates: input_ids is float32 [batch, sequence], not rows of token ids");
    let no_logits = said_of(|entry| entry.outputs[0] = Output { name: Text("scores"), ..entry.outputs[0] });
    assert_eq!(no_logits, "generates: there is no output logits");
    let rank = said_of(|entry| entry.outputs[0] = Output { shape: ROWS, ..entry.outputs[0] });
    assert_eq!(
        rank,
        "generates: logits is [batch, sequence], not a score of every token at [batch, sequence]"
    );
    let places = said_of(|entry| entry.inputs[2] = positions("position_ids", CODES));
    assert_eq!(places, "generates: position_ids does not grow with input_ids [batch, sequence]");
    let kind = said_of(|entry| entry.inputs[2].fill = Fill::Tokens);
    assert_eq!(kind, "generates: position_ids does not grow with input_ids [batch, sequence]");
}
