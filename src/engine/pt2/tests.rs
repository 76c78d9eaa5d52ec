//! Graphs written by hand: how they are understood, and what they compute.

use super::from_schema::GraphError;
use super::graph::{Argument, Graph, Input, Output, Size, Step, Target};
use super::interpreter::Interpreter;
use super::schema::ExportedProgram;
use super::sizes::Number;
use super::{Opened, Pt2, archive, explain, spoilt};
use crate::device::Device;
use crate::engine::{Engine, Program, StepReport};
use crate::failure::Stage;
use crate::numerics::Tensor;
use crate::task::Dtype;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A node whose arguments are given as `name: {kind: value}`, and which returns one value of that kind.
fn node(target: &str, arguments: Value, output: Value) -> Value {
    let named = |(name, arg): (&String, &Value)| json!({"name": name, "arg": arg, "kind": 1});
    let inputs: Vec<Value> = arguments.as_object().unwrap().iter().map(named).collect();
    json!({"target": target, "inputs": inputs, "outputs": [output], "metadata": {}})
}

fn tensor(name: &str) -> Value {
    json!({"as_tensor": {"name": name}})
}

fn size(name: &str) -> Value {
    json!({"as_sym_int": {"as_name": name}})
}

/// A program of one parameter, `p`, and one input, `x`, that returns `y`.
fn program(nodes: Vec<Value>) -> Value {
    json!({
        "graph_module": {
            "graph": {"inputs": [tensor("p"), tensor("x")], "outputs": [tensor("y")], "nodes": nodes},
            "signature": {
                "input_specs": [
                    {"parameter": {"arg": {"name": "p"}, "parameter_name": "model.p"}},
                    {"user_input": {"arg": tensor("x")}}
                ],
                "output_specs": [{"user_output": {"arg": tensor("y")}}],
            },
        },
        "schema_version": {"major": 8, "minor": 17},
    })
}

fn graph(program: Value) -> Result<Graph, GraphError> {
    Graph::try_from(serde_json::from_value::<ExportedProgram>(program).unwrap())
}

/// What the program computes of p = [1, 2] and x = [[1, 2], [3, 4], [5, 6]], or its error.
fn computed(nodes: Vec<Value>) -> Result<Vec<f64>, String> {
    let graph = graph(program(nodes)).map_err(|error| error.to_string())?;
    let interpreter = Interpreter::new(graph, Device::Cpu).map_err(|error| error.to_string())?;
    let p = tch::Tensor::from_slice(&[1.0, 2.0]);
    let x = tch::Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([3, 2]);
    let outputs = interpreter.run(&[&p, &x]).map_err(|error| error.to_string())?;
    Ok(Vec::try_from(outputs[0].reshape([-1]).to_kind(tch::Kind::Double)).unwrap())
}

fn add(a: &str, b: &str, y: &str) -> Value {
    node("torch.ops.aten.add.Tensor", json!({"self": tensor(a), "other": tensor(b)}), tensor(y))
}

#[test]
fn values_are_numbered_and_end_with_their_last_use() {
    let graph = graph(program(vec![
        add("x", "p", "a"),
        add("a", "a", "b"),
        add("x", "p", "spare"),
        add("b", "x", "y"),
    ]));
    let graph = graph.unwrap();
    assert_eq!(graph.inputs, [Input::Parameter("model.p".to_owned()), Input::Given("x".to_owned())]);
    assert_eq!((graph.slots, &*graph.outputs), (6, &[5][..]));
    let dead = Vec::from_iter(graph.steps.iter().map(|step| step.dead.clone()));
    // `spare` is never read, and inputs are the caller's.
    assert_eq!(dead, [vec![], vec![2], vec![4], vec![3]]);
    let operator = Target::Operator { name: "aten::add".to_owned(), overload: "Tensor".to_owned() };
    let arguments = vec![("other".to_owned(), Argument::Value(0)), ("self".to_owned(), Argument::Value(1))];
    assert_eq!(
        graph.steps[0],
        Step { target: operator, arguments, outputs: vec![Output::Value(2)], dead: vec![], line: None }
    );
}

#[test]
fn constants_are_read_as_what_the_operator_takes() {
    let arguments = json!({
        "a": {"as_scalar_type": 7}, "b": {"as_device": {"type": "cpu", "index": null}}, "c": {"as_memory_format": 4},
        "d": {"as_float": "-Infinity"}, "e": {"as_sym_ints": [{"as_int": 3}, {"as_name": "n"}]}, "f": {"as_layout": 7},
        "g": {"as_optional_tensors": [{"as_none": true}, {"as_tensor": {"name": "x"}}]},
    });
    let sized =
        node("torch.ops.aten.sym_size.int", json!({"self": tensor("x"), "dim": {"as_int": 0}}), size("n"));
    let graph =
        graph(program(vec![sized, node("torch.ops.aten.thing.default", arguments, tensor("y"))])).unwrap();
    let read = Vec::from_iter(graph.steps[1].arguments.iter().map(|(_, argument)| argument.clone()));
    let expected = [
        Argument::ElementType(6),
        Argument::Device,
        Argument::Number(Number::Int(1)),
        Argument::Number(Number::Float(f64::NEG_INFINITY)),
        Argument::Sizes(vec![Size::Known(3), Size::Value(2)]),
        Argument::Number(Number::Int(0)),
        Argument::Tensors(vec![None, Some(1)]),
    ];
    assert_eq!(read, expected);
}

#[test]
fn floats_are_read_to_the_last_bit() {
    let lowest = r#"{"as_float": -3.4028234663852886e+38}"#;
    let read: super::schema::Argument = serde_json::from_str(lowest).unwrap();
    let super::schema::Argument::AsFloat(read) = read else { panic!("a float") };
    assert_eq!(read.0, f64::from(f32::MIN));
}

#[test]
fn what_is_not_understood_is_an_error_that_names_it() {
    let error = |program: Value| graph(program).unwrap_err().to_string();
    let mut newer = program(vec![]);
    newer["schema_version"]["major"] = json!(9);
    assert_eq!(error(newer), "schema version 9.17 is not known; this build reads 8.x");
    let mut mutates = program(vec![]);
    mutates["graph_module"]["signature"]["output_specs"][0] = json!({"buffer_mutation": {}});
    assert_eq!(error(mutates), "outputs of kind buffer_mutation are not supported");
    let of = |target: &str, arguments: Value| error(program(vec![node(target, arguments, tensor("y"))]));
    assert_eq!(
        of("os.system", json!({})),
        "operator os.system is neither one of torch.ops nor arithmetic on sizes"
    );
    for refused in ["torch.ops.aten.from_file.default", "torch.ops.quantized.add.default"] {
        let told = format!(
            "operator {refused} is refused: a program computes, by ATen's operators, and reaches no files"
        );
        assert_eq!(of(refused, json!({})), told);
    }
    assert_eq!(
        of("torch.ops.aten.relu.default", json!({"self": {"as_complex": {"real": 0, "imag": 1}}})),
        "torch.ops.aten.relu.default: arguments of kind as_complex are not supported"
    );
    assert_eq!(
        of("torch.ops.higher_order.cond", json!({})),
        "operator cond runs a graph in a way that is not known here"
    );
    let undefined = of("torch.ops.aten.relu.default", json!({"self": tensor("z")}));
    assert_eq!(undefined, "torch.ops.aten.relu.default reads 'z', which nothing before it makes");
}

#[test]
fn a_later_kind_of_argument_names_itself() {
    let nodes = vec![node("torch.ops.aten.relu.default", json!({"self": {"as_quaternion": 1}}), tensor("y"))];
    let error = serde_json::from_value::<ExportedProgram>(program(nodes)).unwrap_err().to_string();
    assert!(error.starts_with("unknown variant `as_quaternion`"), "{error}");
}

#[test]
fn operators_are_called_with_constants_defaults_and_values() {
    assert_eq!(computed(vec![add("x", "p", "y")]), Ok(vec![2.0, 4.0, 4.0, 6.0, 6.0, 8.0]));
    let scaled = json!({"self": tensor("x"), "other": tensor("p"), "alpha": {"as_int": 10}});
    let nodes = vec![node("torch.ops.aten.add.Tensor", scaled, tensor("y"))];
    assert_eq!(computed(nodes), Ok(vec![11.0, 22.0, 13.0, 24.0, 15.0, 26.0]));
}

#[test]
fn a_number_stands_for_a_tensor_as_in_python() {
    let more = |other: Value| {
        node("torch.ops.aten.add.Tensor", json!({"self": tensor("whole"), "other": other}), tensor("y"))
    };
    let ones = json!({"size": {"as_ints": [2]}, "dtype": {"as_scalar_type": 5}});
    let whole = node("torch.ops.aten.ones.default", ones, tensor("whole"));
    let scaled =
        node("torch.ops.aten.mul.Tensor", json!({"self": tensor("p"), "other": {"as_int": 3}}), tensor("y"));
    assert_eq!(computed(vec![scaled]), Ok(vec![3.0, 6.0]));
    assert_eq!(computed(vec![whole.clone(), more(json!({"as_float": 0.5}))]), Ok(vec![1.5, 1.5]));
    assert_eq!(computed(vec![whole, more(json!({"as_bool": true}))]), Ok(vec![2.0, 2.0]));
}

#[test]
fn sizes_are_computed_and_given_to_operators() {
    let nodes = vec![
        node("torch.ops.aten.sym_size.int", json!({"self": tensor("x"), "dim": {"as_int": -2}}), size("n")),
        node("_operator.mul", json!({"a": size("n"), "b": {"as_int": 2}}), size("m")),
        node(
            "torch.ops.aten.view.default",
            json!({"self": tensor("x"), "size": {"as_sym_ints": [{"as_name": "m"}]}}),
            tensor("flat"),
        ),
        node("torch.ops.aten.mul.Tensor", json!({"self": tensor("flat"), "other": size("n")}), tensor("y")),
    ];
    assert_eq!(computed(nodes), Ok(vec![3.0, 6.0, 9.0, 12.0, 15.0, 18.0]));
}

#[test]
fn lists_of_tensors_come_and_go() {
    let pieces = json!({"as_tensors": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    let nodes = vec![
        node(
            "torch.ops.aten.split.Tensor",
            json!({"self": tensor("x"), "split_size": {"as_int": 1}}),
            pieces,
        ),
        node(
            "torch.ops.aten.cat.default",
            json!({"tensors": {"as_tensors": [{"name": "c"}, {"name": "a"}]}}),
            tensor("y"),
        ),
    ];
    assert_eq!(computed(nodes), Ok(vec![5.0, 6.0, 1.0, 2.0]));
}

#[test]
fn a_graph_under_a_mode_that_is_off_is_part_of_the_graph() {
    let inner = json!({"as_graph": {"name": "inner", "graph": {
        "inputs": [tensor("a"), tensor("b")], "outputs": [tensor("sum")], "nodes": [add("a", "b", "sum")],
    }}});
    let wrapped = |enabled: bool| {
        let given = [
            json!({"as_string": "cpu"}),
            json!({"as_none": true}),
            json!({"as_bool": enabled}),
            json!({"as_none": true}),
            inner.clone(),
            tensor("x"),
            tensor("p"),
        ];
        let inputs = Vec::from_iter(given.iter().map(|arg| json!({"name": "", "arg": arg})));
        let outputs = json!([{"as_tensors": [{"name": "y"}]}]);
        json!({"target": "torch.ops.higher_order.wrap_with_autocast", "inputs": inputs, "outputs": outputs})
    };
    assert_eq!(computed(vec![wrapped(false)]), Ok(vec![2.0, 4.0, 4.0, 6.0, 6.0, 8.0]));
    assert!(
        computed(vec![wrapped(true)]).unwrap_err().starts_with("operator wrap_with_autocast runs a graph")
    );
}

/// A loop along the rows of x, from p: the sum so far, doubled at every step, and each of its states.
fn scan(inner_inputs: &[&str]) -> Value {
    let sum =
        node("torch.ops.aten.add.Tensor", json!({"self": tensor("s"), "other": tensor("r")}), tensor("t"));
    let doubled =
        node("torch.ops.aten.add.Tensor", json!({"self": tensor("t"), "other": tensor("t")}), tensor("u"));
    let inputs = Vec::from_iter(inner_inputs.iter().map(|name| tensor(name)));
    let body = json!({"inputs": inputs, "outputs": [tensor("u"), tensor("t")], "nodes": [sum, doubled]});
    let given = [
        json!({"as_graph": {"name": "body", "graph": body}}),
        json!({"as_tensors": [{"name": "p"}]}),
        json!({"as_tensors": [{"name": "x"}]}),
        json!({"as_tensors": []}),
    ];
    let inputs = Vec::from_iter(given.iter().map(|arg| json!({"name": "", "arg": arg, "kind": 1})));
    json!({"target": "torch.ops.higher_order.scan", "inputs": inputs, "outputs": [tensor("last"), tensor("y")]})
}

#[test]
fn a_loop_hands_on_what_a_step_leaves_and_stacks_what_all_of_them_return() {
    // p = [1, 2]; the rows of x are [1, 2], [3, 4] and [5, 6].
    assert_eq!(computed(vec![scan(&["s", "r"])]), Ok(vec![2.0, 4.0, 7.0, 12.0, 19.0, 30.0]));
    let other = computed(vec![scan(&["s", "r", "q"])]).unwrap_err();
    assert_eq!(other, "operator scan runs a graph in a way that is not known here");
}

#[test]
fn an_operator_that_is_not_there_or_fails_is_an_error_with_its_name() {
    let of =
        |target: &str, arguments: Value| computed(vec![node(target, arguments, tensor("y"))]).unwrap_err();
    let none = of("torch.ops.aten.no_such.default", json!({}));
    assert!(none.starts_with("aten::no_such: Could not find schema"), "{none}");
    let other = of("torch.ops.aten.relu.default", json!({"self": tensor("x"), "speed": {"as_int": 1}}));
    assert_eq!(other, "aten::relu: it has no argument 'speed'");
    assert_eq!(of("torch.ops.aten.relu.default", json!({})), "aten::relu: the graph gives it no 'self'");
    let wrong = json!({"self": tensor("x"), "size": {"as_ints": [7]}});
    let wrong = of("torch.ops.aten.view.default", wrong);
    assert!(wrong.starts_with("aten::view: shape '[7]' is invalid for input of size 6"), "{wrong}");
}

/// The program as a file: p, in float32, is [1, 2], and q is p under another name.
fn file(folder: &Path, nodes: Vec<Value>) -> PathBuf {
    let mut program = program(nodes);
    let graph = &mut program["graph_module"];
    graph["graph"]["inputs"].as_array_mut().unwrap().insert(1, tensor("q"));
    let tied = json!({"parameter": {"arg": {"name": "q"}, "parameter_name": "model.q"}});
    graph["signature"]["input_specs"].as_array_mut().unwrap().insert(1, tied);
    let meta = json!({"dtype": 7, "sizes": [{"as_int": 2}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}});
    let payload = json!({"path_name": "weight_0", "use_pickle": false, "tensor_meta": meta});
    let weights = json!({"config": {"model.p": payload, "model.q": payload}});
    let numbers: Vec<u8> = [1f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let files = [
        ("archive_format", b"pt2".to_vec()),
        ("archive_version", b"0".to_vec()),
        ("byteorder", b"little".to_vec()),
        ("models/model.json", program.to_string().into_bytes()),
        ("data/weights/model_weights_config.json", weights.to_string().into_bytes()),
        ("data/weights/weight_0", numbers),
        ("data/constants/model_constants_config.json", br#"{"config": {}}"#.to_vec()),
    ];
    let path = folder.join("program.pt2");
    let written = File::create(&path).unwrap();
    archive::write(written, files.iter().map(|(name, bytes)| (*name, bytes.as_slice()))).unwrap();
    path
}

#[test]
fn a_file_is_loaded_run_changed_saved_and_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = vec![add("x", "p", "a"), add("a", "q", "y")];
    let program = Pt2.load(&file(folder.path(), nodes), Device::Cpu).unwrap();
    let x = Tensor::float(Dtype::Float32, &[1, 2], vec![10.0, 20.0]).unwrap();
    let run = |program: &dyn Program| program.run(std::slice::from_ref(&x)).unwrap()[0].to_f64();
    assert_eq!(run(program.as_ref()), [12.0, 24.0]);
    // A tied parameter has one name, its first.
    assert_eq!(program.parameters().unwrap(), [("model.p".to_owned(), vec![2])]);
    let names = ["model.p".to_owned()];
    let before = program.digests(&names).unwrap();
    program.perturb("model.p", 1, 0.5).unwrap();
    assert_ne!(program.digests(&names).unwrap(), before);
    let saved = folder.path().join("saved.pt2");
    program.save(&saved).unwrap();
    let again = Pt2.load(&saved, Device::Cpu).unwrap();
    assert_eq!(run(again.as_ref()), [12.0, 25.0]);
    assert_eq!(again.digests(&names).unwrap(), program.digests(&names).unwrap());
    let error = again.run(&[]).unwrap_err();
    assert_eq!((error.stage, &*error.message), (Stage::Run, "the program takes 1 inputs, not 0"));
}

/// p + x · 0.5 / 3.3, where 3.3 is a tensor of whatever type tensors are of, and float32 is asked for by name.
fn shares() -> Vec<Value> {
    let half = json!({"self": tensor("x"), "other": {"as_float": 0.5}});
    let whole = json!({"size": {"as_ints": []}, "fill_value": {"as_float": 3.3}});
    let float32 = json!({"self": tensor("b"), "dtype": {"as_scalar_type": 7}});
    vec![
        node("torch.ops.aten.mul.Tensor", half, tensor("a")),
        node("torch.ops.aten.full.default", whole, tensor("b0")),
        node("torch.ops.aten.div.Tensor", json!({"self": tensor("a"), "other": tensor("b0")}), tensor("b")),
        node("torch.ops.aten.to.dtype", float32, tensor("c")),
        add("c", "p", "y"),
    ]
}

fn of_one(program: &dyn Program) -> f64 {
    let x = Tensor::float(Dtype::Float32, &[1, 2], vec![1.0, 1.0]).unwrap();
    program.run(&[x]).unwrap()[0].to_f64()[0]
}

#[test]
fn a_graph_in_float64_rounds_nowhere_to_float32_and_leaves_others_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), shares());
    let (exact, rounded) = (1.0 + 0.5 / 3.3, f64::from(1.0f32 + 0.5f32 / 3.3));
    assert_ne!(exact, rounded);
    let wide = Pt2.load_in_float64(&path, Device::Cpu).unwrap();
    assert_eq!(of_one(wide.as_ref()), exact);
    assert_eq!(of_one(Pt2.load(&path, Device::Cpu).unwrap().as_ref()), rounded);
    // Weights are as wide as what is computed of them.
    wide.perturb("model.p", 0, 1e-9).unwrap();
    assert_eq!(of_one(wide.as_ref()), exact + 1e-9);
}

#[test]
fn what_a_step_keeps_stays_on_the_device_as_wide_as_it_was_computed() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), shares());
    let rounded = 1.0 + (1.0 + 0.5f32 / 3.3) * 0.5 / 3.3;
    let exact = 1.0 + (1.0 + 0.5f64 / 3.3) * 0.5 / 3.3;
    let x = Tensor::float(Dtype::Float32, &[1, 2], vec![1.0, 1.0]).unwrap();
    let twice = |program: &dyn Program| {
        let held = program.place(&x).unwrap();
        let (shown, kept) = program.step(&[], &[held], 0).unwrap();
        assert_eq!((shown, kept[0].shape()), (vec![], vec![1, 2]));
        program.step(&[], &kept, 1).unwrap().0[0].to_f64()[0]
    };
    assert_eq!(twice(Pt2.load(&path, Device::Cpu).unwrap().as_ref()), f64::from(rounded));
    assert_eq!(twice(Pt2.load_in_float64(&path, Device::Cpu).unwrap().as_ref()), exact);
}

#[test]
fn a_factor_that_is_spoilt_is_off_by_its_share_and_a_graph_without_one_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let off = spoilt(&file(folder.path(), shares()), Device::Cpu, 1e-3).unwrap();
    let off = of_one(off.as_ref()) - (1.0 + 0.5 / 3.3);
    assert!((off - 1e-3 * 0.5 / 3.3).abs() < 1e-15, "{off}");
    let plain = file(folder.path(), vec![add("x", "p", "y")]);
    let refusal = spoilt(&plain, Device::Cpu, 1e-3).err().unwrap();
    assert_eq!(refusal.refusal(), Some("the graph multiplies by no constant"));
}

#[test]
fn the_operator_that_is_off_is_told_from_those_that_hand_its_error_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), shares());
    let wide = Opened::open(&path).unwrap().in_float64().ready(Device::Cpu).unwrap();
    let x = Tensor::float(Dtype::Float32, &[1, 2], vec![1.0, 2.0]).unwrap();
    let told = |share: f64| {
        let mut opened = Opened::open(&path).unwrap();
        *opened.graph.factor().unwrap() *= 1.0 + share;
        let narrow = opened.ready(Device::Cpu).unwrap();
        explain::compared(&narrow, &wide, std::slice::from_ref(&x)).unwrap()
    };
    let healthy = told(0.0);
    assert_eq!((healthy.operators, healthy.reports.len()), (5, 5));
    assert!(!healthy.reports.iter().any(StepReport::is_wrong), "{healthy:?}");
    let off = told(1e-3);
    let wrong = Vec::from_iter(off.reports.iter().filter(|report| report.is_wrong()));
    assert_eq!(Vec::from_iter(wrong.iter().map(|report| &*report.operator)), ["aten::mul.Tensor"]);
    let last = off.reports.last().unwrap();
    assert!(last.own < 1e-7 && last.so_far > 1e-5, "{last:?}");
}

#[test]
fn a_step_has_the_innermost_line_that_is_not_torchs_own() {
    let trace = "File \"/a/site-packages/transformers/x.py\", line 7, in forward\n    y = self.dense(x)\n  \
                 File \"/a/site-packages/torch/nn/linear.py\", line 9, in forward\n    return F.linear(x)";
    let mut node = add("x", "p", "y");
    node["metadata"] = json!({"stack_trace": trace, "other": "words"});
    let line = graph(program(vec![node])).unwrap().steps[0].line.clone().unwrap();
    assert_eq!((&*line.file, line.number, &*line.code), ("transformers/x.py", 7, "y = self.dense(x)"));
}
