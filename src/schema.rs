//! The JSON Schema of family files, with which editors complete and underline.
//!
//! In: the words of the spec as Rust types, tasks and checks from where they are defined. Out: `spec/schema.json`.
//! A schema knows shapes and words; everything that depends on several keys is the build's to check.

use crate::spec::{ATTENTIONS, Check, K_MAX, NAME_MAX, NEVER_OMITTED};
use crate::task::{CONTRACTS, Dtype};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The schema's file, below the project's root.
pub const FILE: &str = "spec/schema.json";
/// The line that tells editors of it, first in every family file.
pub const LINE: &str = "# yaml-language-server: $schema=schema.json";

/// The text of [`FILE`].
pub fn text() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Family>();
    format!("{schema:#}\n", schema = schema.as_value())
}

/// A family of models: one file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Family {
    /// The file's name.
    family: String,
    /// What most models of the family have in common.
    defaults: Option<Layer>,
    /// One entry per architecture.
    models: Vec<Model>,
    /// Wanted, and cannot be tested yet.
    missing: Option<Vec<Missing>>,
}

/// A model that counts as missing, and why.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Missing {
    name: String,
    /// How far it came.
    stage: MissingStage,
    /// The exact error, and what was tried.
    reason: String,
}

/// An architecture, a class, a task.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Model {
    /// The architecture, as HuggingFace spells it; unique over all families, also as a Rust module.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), extend("maxLength" = NAME_MAX))]
    name: String,
    /// The model, of any family, that this one inherits from.
    like: Option<String>,
    /// Hub id, `org/name`, or the bare name of the hub's first models.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$"))]
    checkpoint: Option<String>,
    /// Looser tolerances. Each is a waiver: it needs a reason, and an end.
    tolerance: Option<Vec<Waiver>>,
    #[schemars(flatten)]
    layer: Layer,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Layer {
    /// Class in the source package. It is the class that is run.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    class: Option<String>,
    /// Task, by its hub name: gives inputs, outputs and checks.
    task: Option<Task>,
    /// How much the model matters.
    priority: Option<Priority>,
    /// Key of `sources` in versions.yaml.
    source: Option<String>,
    /// Seed of weights and inputs.
    seed: Option<u64>,
    /// The side on which masks have their zeros; `none`: every position is real.
    padding: Option<Padding>,
    /// The one attention of references and program → what is wrong with the class's others.
    #[schemars(default)]
    attention: BTreeMap<Attention, Option<String>>,
    /// Overrides on the class's default config; nested mappings reach sub-configs.
    #[schemars(default)]
    config: Map<String, Value>,
    /// Symbol → size in a call.
    #[schemars(default)]
    axes: BTreeMap<String, Option<Axis>>,
    /// Symbol → size in the config: a number, a path of attributes, or paths of which the first that exists counts.
    #[schemars(default)]
    dims: BTreeMap<String, Option<Dim>>,
    /// Config attribute that holds a token id → copies of that token in every row.
    #[schemars(default)]
    placeholders: BTreeMap<String, Option<Size>>,
    /// Inputs of the task that the class does not take.
    without: Option<Vec<String>>,
    /// Inputs to add or replace; null drops one.
    #[schemars(default)]
    inputs: BTreeMap<String, Option<Input>>,
    /// Outputs to add or replace; null drops one.
    #[schemars(default)]
    outputs: BTreeMap<String, Option<Output>>,
    /// Check → why it is left out.
    #[schemars(default, schema_with = "reasons")]
    omit: (),
    /// Parameters that move no output, * for any text → why.
    #[schemars(default)]
    idle: BTreeMap<String, Option<String>>,
    /// Seconds that each check may take.
    #[schemars(range(min = 1, max = 86400))]
    time_limit: Option<u64>,
    /// GiB of memory that a process may hold while it runs the model.
    #[schemars(range(min = 1, max = 4096))]
    memory_limit: Option<u64>,
}

/// A word of the spec that is defined elsewhere.
macro_rules! words {
    ($name:ident, $words:expr) => {
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": $words})
            }
        }
    };
}

words!(Task, Vec::from_iter(CONTRACTS.iter().map(|task| task.name)));
words!(CheckName, Check::ALL.map(Check::name));
words!(OmittedCheck, Vec::from_iter(omittable().map(Check::name)));
words!(Element, Dtype::ALL.map(Dtype::name));
words!(Priority, ["critical", "high", "medium", "low"]);
words!(Attention, ATTENTIONS);
words!(Padding, ["left", "right", "none"]);
words!(MissingStage, ["export", "load", "run", "compare"]);
words!(
    FillWord,
    ["tokens", "text", "mask", "positions", "normal", "uniform", "boxes", "ones", "mm_token_type_ids"]
);
words!(Range, ["finite", "unit", "normalised", "token-ids"]);

/// A size in elements.
struct Size;

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 1_000_000})
    }
}

fn omittable() -> impl Iterator<Item = Check> {
    Check::ALL.into_iter().filter(|check| !NEVER_OMITTED.contains(check))
}

fn reasons(generator: &mut SchemaGenerator) -> Schema {
    let checks = generator.subschema_for::<OmittedCheck>();
    json_schema!({
        "type": "object",
        "propertyNames": checks,
        "additionalProperties": {"type": ["string", "null"]},
    })
}

/// The size of an axis.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum Axis {
    /// Dynamic: traced at the first size, must also hold at the second.
    Dynamic([Size; 2]),
    Fixed(Fixed),
    Per(Per),
}

/// Fixed: the eager model itself allows only this size.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Fixed {
    size: Size,
    /// Why.
    fixed: String,
}

/// Follows another axis: so many for each of its steps.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Per {
    per: String,
    count: Size,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum Dim {
    Size(Size),
    Path(String),
    Paths(Vec<String>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum ShapeDim {
    Size(Size),
    Symbol(String),
}

/// An input of the program.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Input {
    /// Outermost dimension first.
    shape: Vec<ShapeDim>,
    dtype: Option<Element>,
    /// How the exporter fills it.
    fill: Fill,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum Fill {
    Word(FillWord),
    Integers(Integers),
    Values(Values),
    Grid(Grid),
}

/// Column and row of every place of a grid.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Grid {
    grid: [u64; 2],
}

/// Whole numbers, one for each place of the last dimension, or one everywhere.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Values {
    values: Vec<i64>,
}

/// Whole numbers, the second excluded.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Integers {
    integers: [i64; 2],
}

/// An output of the program.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Output {
    /// Outermost dimension first.
    shape: Vec<ShapeDim>,
    dtype: Option<Element>,
    /// What values it may hold.
    range: Option<Range>,
}

/// A looser tolerance.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Waiver {
    /// The check to loosen.
    check: CheckName,
    /// The output to loosen; all of them when left out.
    output: Option<String>,
    /// Replaces the factor of the numerical rule.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = K_MAX))]
    k: f64,
    /// The cause.
    reason: String,
    /// Where the cause is tracked: an https link.
    issue: Option<String>,
    /// Last day of the waiver, YYYY-MM-DD.
    until: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// The family files, by path.
    fn families() -> Vec<spec::File> {
        let files = spec::read(root()).unwrap();
        files.into_iter().filter(|(path, _)| !path.ends_with("versions.yaml")).collect()
    }

    fn keys(schema: &Value, pointer: &str) -> BTreeSet<String> {
        schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_checked_in_schema_is_the_types_own() {
        let found = std::fs::read_to_string(root().join(FILE)).unwrap_or_default();
        assert!(found == text(), "{FILE} is out of step; run: just schema");
    }

    #[test]
    fn the_schema_has_the_keys_that_the_parser_reads() {
        let schema: Value = serde_json::from_str(&text()).unwrap();
        let set = |keys: Vec<&str>| BTreeSet::from_iter(keys.into_iter().map(str::to_owned));
        assert_eq!(keys(&schema, "/definitions/Model/properties"), set(spec::model_keys()));
        assert_eq!(keys(&schema, "/definitions/Layer/properties"), set(spec::defaults_keys()));
    }

    fn accepts(value: &Value) -> bool {
        let schema: Value = serde_json::from_str(&text()).unwrap();
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("schema.json", schema).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        match schemas.validate(value, index) {
            Ok(()) => true,
            Err(error) => {
                println!("{error:#}");
                false
            }
        }
    }

    #[test]
    fn every_family_file_fits_the_schema_and_names_it_first() {
        for (path, bytes) in families() {
            assert!(accepts(&spec::value(&path, &bytes).unwrap()), "{}", path.display());
            assert!(bytes.starts_with(LINE.as_bytes()), "{}: the first line must be {LINE}", path.display());
        }
    }

    #[test]
    fn what_an_editor_can_see_is_underlined() {
        let faults = [
            "sed: 1",
            "task: fil-mask",
            "priority: urgent",
            "axes: {batch: [2]}",
            "axes: {batch: {size: 2}}",
            "omit: {hlaf: why}",
            "inputs: {x: {shape: [batch]}}",
            "omit: {matches_reference: why}",
            "tolerance: [{check: half}]",
            "tolerance: [{check: half, k: 101, reason: r, until: 2099-01-01}]",
            "checkpoint: a/b/c",
        ];
        let model = |extra: &str| {
            let text = format!("family: text\nmodels:\n- {{name: a, class: A, {extra}}}\n");
            spec::value(Path::new("text.yaml"), text.as_bytes()).unwrap()
        };
        assert!(accepts(&model("seed: 1")));
        assert!(accepts(&model("time_limit: 600, memory_limit: null")));
        assert!(accepts(&model("axes: {batch: null}, seed: null, config: {a: null}")));
        for fault in faults {
            assert!(!accepts(&model(fault)), "{fault}");
        }
    }
}
