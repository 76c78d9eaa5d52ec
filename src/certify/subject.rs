//! The entry that a checkpoint stands for, and the sizes that it is proved at.
//!
//! In: what was found. Out: a [`Subject`]. The entry is like the nearest one of the spec, by the spec's own rules for
//! `like`; but its sizes are those that people use, and no tolerance is inherited: a waiver is about random weights.

use super::found::Found;
use crate::export::Reference;
use crate::failure::{Failure, Stage};
use crate::spec::{self, Axis, Case, Entry, File, Idle, Name, Padding, Spec};
use crate::task::{BATCH, Dim, Dtype, Fill, Input, Output, Range, Text, named, output};
use serde_json::json;
use std::collections::BTreeMap;

/// Rows of a call: several, and one.
const BATCHES: [usize; 2] = [4, 1];
/// Tokens of a row, beside the most that the model takes.
const LENGTHS: [usize; 3] = [1, 16, 128];
/// The longest row where the model takes longer ones, or sets no limit.
const LONGEST: usize = 512;
/// The most values of all outputs together that a run is compared at: references of more fill memory and disk.
const VALUES: usize = 1 << 25;
/// Bytes of memory that an export holds for each parameter: eager and served in float32, one in bfloat16, and a program.
const BYTES: u64 = 4 + 4 + 2 + 4;
/// The same in float64: for all of them, or where references are streamed for those of one weight.
const WIDE: u64 = 8;
/// The same for each value of all outputs: float32, float64 and eager's error.
const KEPT: u64 = 4 + 8 + 4;
/// The same for each value of the largest outputs, while eager's error is measured: float64 of as many as five runs.
const MEASURED: u64 = 5 * 8;
/// The same without any of them: torch, transformers, tensors of a run.
const BASE: u64 = 2 << 30;

/// The name of the output of a sentence-transformers folder.
pub const EMBEDDING: &str = "sentence_embedding";

/// A checkpoint as an entry.
#[derive(Debug)]
pub struct Subject {
    /// The spec, with the entry in it.
    pub spec: Spec,
    /// The entry's name.
    pub name: Name,
    /// Runs beside those of the entry's axes.
    pub cases: Vec<Case>,
    /// Runs that are left out, and why.
    pub left_out: Vec<(Case, String)>,
    /// Where references come from.
    pub reference: Reference,
    /// Bytes of memory that proving it takes, about.
    pub memory: u64,
    /// Bytes of it that streamed references do without.
    saved: u64,
}

impl Subject {
    /// The same with so many bytes of memory free: its references are streamed where a copy of the model would not fit.
    #[must_use]
    pub fn within(self, free: u64) -> Self {
        match self.memory <= free {
            true => self,
            false => {
                Self { reference: Reference::Streamed, memory: self.memory - self.saved, saved: 0, ..self }
            }
        }
    }

    /// The entry.
    pub fn entry(&self) -> &Entry {
        let own = |entry: &&Entry| entry.name == self.name;
        self.spec.entries.iter().find(own).expect("the entry was made with the spec")
    }
}

/// Makes an entry of that name, or near it where the spec has one of that name.
///
/// # Errors
/// Stage `spec`: no such name; the spec has problems, or the nearest entry does not suit the task.
pub fn subject(files: &[File], found: &Found, name: &str) -> Result<Subject, Failure> {
    let wrong = |why: String| Failure::new(Stage::Spec, why);
    let name = Name::new(name).map_err(|error| {
        wrong(format!("no bundle can be called '{name}': {error}"))
            .with("give it a folder of another name: --out")
    })?;
    let mut spec = with_entry(files, found, &name).map_err(wrong)?;
    let entry = spec.entries.iter_mut().find(|entry| entry.name == name).expect("it was parsed");
    fit(entry, found);
    let (cases, left_out) = cases(entry, found);
    let memory = needed(entry, &cases, found);
    entry.memory_limit = Some(memory.div_ceil(1 << 30).max(8));
    let saved = WIDE * (found.parameters - found.largest);
    Ok(Subject { spec, name, cases, left_out, reference: Reference::Copied, memory, saved })
}

/// The spec with one entry more, in a family of its own; an entry of the same name makes room for it.
fn with_entry(files: &[File], found: &Found, name: &Name) -> Result<Spec, String> {
    let parsed = |files: &[File]| {
        let parsed = spec::parse(files, spec::today());
        parsed.map_err(|problems| problems.first().map_or_else(String::new, ToString::to_string))
    };
    // A name that no entry has while both are there; the spelling is JSON's, which is YAML.
    let stand_in = format!("certified-{}", name.as_str());
    let item = json!({"name": stand_in, "like": found.near, "class": found.class_name, "task": found.task});
    let text = format!("family: certified\nmodels:\n  - {item}\n");
    let file = ("spec/certified.yaml".into(), text.into_bytes());
    let mut spec = parsed(&[files, &[file]].concat())?;
    let is_near = |entry: &&Entry| entry.name.as_str() == found.near;
    let near = spec.entries.iter().find(is_near).map(|near| near.task.name);
    spec.entries.retain(|entry| entry.name != *name);
    let own = spec.entries.iter_mut().find(|entry| entry.name.as_str() == stand_in);
    let own = own.ok_or("the entry of the checkpoint is lost")?;
    own.name = name.clone();
    if near.is_some_and(|task| task != found.task) {
        // What the nearest entry returns is another head's.
        own.outputs = own.task.outputs.to_vec();
    }
    Ok(spec)
}

/// What the checkpoint itself decides of its entry.
fn fit(entry: &mut Entry, found: &Found) {
    entry.tolerance.clear();
    // The checkpoint has its own.
    entry.config.clear();
    entry.checkpoint = Some(found.checkpoint.clone());
    let takes = |input: &Input| {
        let keyword = input.name.split("__").next().unwrap_or_default();
        found.takes.iter().any(|name| name == keyword)
    };
    entry.inputs.retain(takes);
    if !entry.inputs.iter().any(|input| input.fill == Fill::Mask) {
        entry.padding = Padding::None;
    }
    if let Some(embedding) = &found.embedding {
        let range = if embedding.normalised { Range::Normalised } else { Range::Finite };
        entry.outputs = vec![embedded(range)];
    }
    entry.idle.extend(unused(entry));
    let symbols = symbols(entry);
    entry.axes.retain(|name, axis| {
        symbols.contains(&name.as_str())
            || matches!(axis, Axis::Per { axis, .. } if symbols.contains(&axis.as_ref()))
    });
    let placed = entry.placeholders.is_empty();
    for (name, axis) in &mut entry.axes {
        *axis = sized(name, *axis, found, placed);
    }
    entry.time_limit = Some(300 + found.parameters / 100_000);
}

/// Bytes of memory that proving the checkpoint takes, about, with a copy of it in float64: by its parameters, and by what is
/// compared.
fn needed(entry: &Entry, more: &[Case], found: &Found) -> u64 {
    let own = entry.cases();
    let values = own.iter().chain(more).map(|case| values(entry, case, found) as u64);
    let (all, largest) = values.fold((0, 0), |(all, largest), values| (all + values, largest.max(values)));
    BASE + (BYTES + WIDE) * found.parameters + KEPT * all + MEASURED * largest
}

/// Seconds that exporting so many parameters may take: far beyond what it takes.
pub fn patience(parameters: u64) -> u32 {
    u32::try_from(600 + parameters / 50_000).unwrap_or(u32::MAX)
}

/// The embedding of a text.
fn embedded(range: Range) -> Output {
    const SHAPE: &[Dim] = &[BATCH, named("hidden")];
    output(EMBEDDING, Dtype::Float32, SHAPE, range)
}

/// Parameters that a trunk has for an output that the task does not have.
fn unused(entry: &Entry) -> Option<Idle> {
    let reason = "the pooled state of the first token, which is not among the outputs";
    let is_pooled = |output: &Output| output.name == "pooler_output";
    let trunk = entry.task.name == "feature-extraction" && !entry.outputs.iter().any(is_pooled);
    trunk.then_some(Idle { parameters: Text("pooler.*"), reason: Text(reason), own: false })
}

/// Symbols of the entry's shapes.
fn symbols(entry: &Entry) -> Vec<&'static str> {
    let shapes =
        entry.inputs.iter().map(|port| port.shape).chain(entry.outputs.iter().map(|port| port.shape));
    let symbol = |dim: &'static Dim| match dim {
        Dim::Named(name) => Some(name.0),
        Dim::Size(_) => None,
    };
    shapes.flat_map(|shape| shape.iter().filter_map(symbol)).collect()
}

/// The size of an axis as people use it: rows and tokens as in a server, pictures as the config says. `is_free` unless
/// placeholders stand among the tokens, which a shorter row could not hold.
fn sized(name: &str, axis: Axis, found: &Found, is_free: bool) -> Axis {
    let Axis::Dynamic { traced, second } = axis else {
        return match (axis, name, found.image) {
            (Axis::Fixed { reason, .. }, "image", Some(size)) => Axis::Fixed { size, reason },
            (Axis::Fixed { size, reason }, "frames", _) => {
                Axis::Fixed { size: number(found, "nb_max_frames").unwrap_or(size), reason }
            }
            (other, ..) => other,
        };
    };
    match (name, found.image) {
        ("batch", _) => Axis::Dynamic { traced: BATCHES[0], second: BATCHES[1] },
        ("sequence" | "target", _) if is_free => {
            let longest = longest(found);
            Axis::Dynamic { traced: LENGTHS[1].min(longest.div_ceil(2)), second: LENGTHS[2].min(longest) }
        }
        ("image", Some(size)) => Axis::Dynamic { traced: size, second: size * second / traced },
        ("samples", _) => number(found, "sampling_rate")
            .map_or(axis, |rate| Axis::Dynamic { traced: sound(rate, 1), second: sound(rate, 2) }),
        _ => axis,
    }
}

/// A number of what makes the inputs of pictures or sounds.
fn number(found: &Found, name: &str) -> Option<usize> {
    let number = found.preprocessor.as_ref()?.get(name)?.as_u64()?;
    usize::try_from(number).ok()
}

/// So many halves of a second, and 5 ms: encoders look at 25 ms every 20 ms, and the last look then ends with the last sample,
/// so that no mask hides one in vain.
fn sound(rate: usize, halves: usize) -> usize {
    halves * rate / 2 + rate / 200
}

/// The longest row that is proved.
fn longest(found: &Found) -> usize {
    found.positions.map_or(LONGEST, |positions| positions.min(LONGEST))
}

/// Runs at every length and every number of rows that the entry's own do not have; and those that would be too large.
fn cases(entry: &Entry, found: &Found) -> (Vec<Case>, Vec<(Case, String)>) {
    let dynamic = |name: &str| matches!(entry.axes.get(name), Some(Axis::Dynamic { .. }));
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    let own = entry.cases();
    if !(dynamic("sequence") && dynamic("batch") && entry.placeholders.is_empty()) {
        return (taken, left_out);
    }
    let lengths = LENGTHS.into_iter().filter(|length| *length < longest(found)).chain([longest(found)]);
    for (length, batch) in lengths.flat_map(|length| BATCHES.map(|batch| (length, batch))) {
        let case = case(entry, &own[0], batch, length);
        let values = values(entry, &case, found);
        match () {
            () if own.iter().any(|other| other.sizes == case.sizes) => {}
            () if values > VALUES => {
                left_out.push((
                    case,
                    format!("its outputs have {values} values, of which {VALUES} are compared at most"),
                ));
            }
            () => taken.push(case),
        }
    }
    (taken, left_out)
}

/// The traced case with other sizes: what follows the batch follows it.
fn case(entry: &Entry, traced: &Case, batch: usize, length: usize) -> Case {
    let mut sizes = traced.sizes.clone();
    for (name, size) in &mut sizes {
        match (name.as_str(), entry.axes.get(name)) {
            ("batch", _) => *size = batch,
            ("sequence" | "target", Some(Axis::Dynamic { .. })) => *size = length,
            (_, Some(Axis::Per { axis, count })) if *axis == *"batch" => *size = batch * count,
            _ => {}
        }
    }
    Case { name: format!("batch {batch}, sequence {length}"), sizes }
}

/// How many values all outputs together have, as far as sizes are known.
fn values(entry: &Entry, case: &Case, found: &Found) -> usize {
    let known: BTreeMap<&str, usize> =
        found.dims.iter().chain(&case.sizes).map(|(name, size)| (name.as_str(), *size)).collect();
    let size = |dim: &Dim| match dim {
        Dim::Named(name) => known.get(name.as_ref()).copied().unwrap_or(1),
        Dim::Size(size) => *size,
    };
    entry.outputs.iter().map(|output| output.shape.iter().map(size).product::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::found::sample;
    use crate::export::Embedding;
    use crate::report::samples;
    use crate::spec::Check;

    fn made(found: &Found) -> Subject {
        subject(&samples::encoders(), found, "mine").unwrap()
    }

    fn names<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Vec<&'a str> {
        cases.into_iter().map(|case| case.name.as_str()).collect()
    }

    #[test]
    fn a_checkpoint_is_an_entry_of_its_class_at_the_sizes_that_people_use() {
        let subject = made(&sample());
        let entry = subject.entry();
        assert_eq!(
            (entry.name.as_str(), entry.class.as_str(), entry.task.name),
            ("mine", "BertModel", "feature-extraction")
        );
        assert_eq!(entry.axes["batch"], Axis::Dynamic { traced: 4, second: 1 });
        assert_eq!(entry.axes["sequence"], Axis::Dynamic { traced: 16, second: 128 });
        let more = [
            "batch 4, sequence 1",
            "batch 1, sequence 1",
            "batch 1, sequence 128",
            "batch 4, sequence 512",
            "batch 1, sequence 512",
        ];
        assert_eq!(names(&subject.cases), more);
        assert!(subject.left_out.is_empty() && entry.config.is_empty());
        assert!(entry.idle.iter().any(|idle| idle.parameters == "pooler.*"));
    }

    #[test]
    fn a_head_without_an_entry_has_its_tasks_outputs_and_its_architectures_inputs() {
        let found = Found {
            class_name: "BertForSequenceClassification".to_owned(),
            task: "text-classification".to_owned(),
            near: "bert".to_owned(),
            ..sample()
        };
        let subject = made(&found);
        let inputs: Vec<&str> = subject.entry().inputs.iter().map(|input| input.name.0).collect();
        assert_eq!(inputs, ["input_ids", "attention_mask", "token_type_ids"]);
        assert_eq!(subject.entry().outputs[0].name, "logits");
        let takes = ["input_ids", "attention_mask"].map(str::to_owned).to_vec();
        let fewer = made(&Found { takes, ..found });
        assert_eq!(fewer.entry().inputs.len(), 2, "what forward does not take is left out");
    }

    #[test]
    fn another_head_does_not_return_what_the_nearest_entry_does() {
        let of = |task: &str| {
            let found = Found { task: task.to_owned(), near: "luke".to_owned(), ..sample() };
            let subject = made(&found);
            subject.entry().outputs.iter().map(|output| output.name.0).collect::<Vec<_>>()
        };
        let own = spec::parse(&samples::encoders(), spec::today()).unwrap();
        let near = own.entries.iter().find(|entry| entry.name.as_str() == "luke").unwrap();
        assert!(near.outputs.len() > near.task.outputs.len(), "it returns entities beside words");
        assert_eq!(of(near.task.name).len(), near.outputs.len());
        assert_eq!(of("token-classification"), ["logits"]);
    }

    #[test]
    fn pooling_makes_the_embedding_the_only_output() {
        let embedding =
            |normalised| Some(Embedding { pooling: "mean".to_owned(), normalised, max_length: None });
        let [unit, free] =
            [true, false].map(|normalised| made(&Found { embedding: embedding(normalised), ..sample() }));
        let outputs = &unit.entry().outputs;
        assert_eq!((outputs.len(), &*outputs[0].name, outputs[0].range), (1, EMBEDDING, Range::Normalised));
        assert_eq!(free.entry().outputs[0].range, Range::Finite);
    }

    #[test]
    fn no_run_is_longer_than_the_model_or_too_large_to_compare() {
        let short = made(&Found { positions: Some(10), ..sample() });
        assert_eq!(short.entry().axes["sequence"], Axis::Dynamic { traced: 5, second: 10 });
        assert_eq!(
            names(&short.cases),
            ["batch 4, sequence 1", "batch 1, sequence 1", "batch 1, sequence 10"]
        );
        let lines = Found {
            class_name: "BertForMaskedLM".to_owned(),
            task: "fill-mask".to_owned(),
            near: "bert".to_owned(),
            dims: BTreeMap::from([("vocabulary".to_owned(), 30522)]),
            ..sample()
        };
        let large = made(&lines);
        let left_out: Vec<_> =
            large.left_out.iter().map(|(case, why)| (case.name.as_str(), why.as_str())).collect();
        let why = "its outputs have 62509056 values, of which 33554432 are compared at most";
        assert_eq!(left_out, [("batch 4, sequence 512", why)]);
    }

    #[test]
    fn sounds_are_as_long_as_people_make_them() {
        let preprocessor = Some(json!({"class": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}));
        let axis = Axis::Dynamic { traced: 350, second: 490 };
        let of = |found: &Found| sized("samples", axis, found, true);
        assert_eq!(of(&Found { preprocessor, ..sample() }), Axis::Dynamic { traced: 8080, second: 16080 });
        assert_eq!(of(&sample()), axis, "nothing says how fast they are played");
    }

    #[test]
    fn references_are_streamed_where_a_copy_of_the_model_would_not_fit() {
        let copied = made(&sample());
        assert_eq!(copied.reference, Reference::Copied);
        let needed = copied.memory;
        assert_eq!(copied.within(needed).reference, Reference::Copied);
        let streamed = made(&sample()).within(needed - 1);
        assert_eq!(streamed.reference, Reference::Streamed);
        let Found { parameters, largest, .. } = sample();
        assert_eq!(
            needed - streamed.memory,
            WIDE * (parameters - largest),
            "one weight at a time is widened"
        );
    }

    #[test]
    fn memory_is_needed_for_parameters_and_for_what_is_compared() {
        let of = |parameters| made(&Found { parameters, largest: 0, ..sample() }).memory;
        assert_eq!(of(2_000_000) - of(1_000_000), (BYTES + WIDE) * 1_000_000);
        let outputs = |hidden| {
            let found = Found { dims: BTreeMap::from([("hidden".to_owned(), hidden)]), ..sample() };
            made(&found).memory - BASE - (BYTES + WIDE) * found.parameters
        };
        assert_eq!(outputs(3840), 10 * outputs(384));
    }

    #[test]
    fn a_checkpoint_may_be_called_as_an_entry_and_has_no_looser_tolerance() {
        let subject = subject(&samples::encoders(), &sample(), "bert").unwrap();
        assert_eq!(subject.entry().class, "BertModel");
        assert!(subject.entry().tolerance.is_empty());
        assert!(subject.entry().due().any(|check| check == Check::MatchesReference));
        let own = subject.spec.entries.iter().filter(|entry| entry.name.as_str() == "bert");
        assert_eq!(own.count(), 1);
    }

    #[test]
    fn a_name_that_no_folder_has_is_told_with_what_to_do() {
        let failure = subject(&samples::encoders(), &sample(), "a b").unwrap_err();
        assert!(failure.message.starts_with("no bundle can be called 'a b'"), "{failure}");
        assert_eq!(failure.details, ["give it a folder of another name: --out"]);
    }
}
