//! Layers to an entry: what depends on several keys.
//!
//! In: a model and its layers. Out: an [`Entry`] whose parts fit each other, or problems. What the entry
//! itself says must have an effect; what it inherits is left aside where it does not fit.

use super::checks::Check;
use super::decode::unknown;
use super::entry::{Entry, Idle, OneAttention, Padding, Versions, Waiver};
use super::layers::{Kept, Layers};
use super::problem::{Problems, did_you_mean, quoted};
use super::resolve::Member;
use super::{measure, plug};
use crate::task::Fill;
use std::collections::BTreeMap;

/// Where classes come from unless an entry says otherwise.
const SOURCE: &str = "transformers";

/// Makes the entry of a model.
pub(super) fn entry(
    member: Member,
    layers: &Layers,
    versions: Option<&Versions>,
    problems: &mut Problems,
) -> Option<Entry> {
    let before = problems.count();
    let model = member.model;
    let class = layers.said(|layer| &layer.class).map(|kept| kept.value);
    let task = layers.said(|layer| &layer.task).map(|kept| *kept.value);
    for (key, missing) in [("class", class.is_none()), ("task", task.is_none())] {
        if missing {
            problems.add(&model.place, format!("{} lacks `{key}`", quoted(model.name.as_str())));
        }
    }
    let (class, task) = (class?, task?);
    let mut entry = Entry {
        name: model.name.clone(),
        family: member.family.name.clone(),
        class: class.clone(),
        task,
        checkpoint: layers.said(|layer| &layer.checkpoint).map(|kept| kept.value.clone()),
        priority: layers.said(|layer| &layer.priority).map(|kept| *kept.value).unwrap_or_default(),
        source: source(member, layers, versions, problems),
        config: layers.config(),
        seed: layers.said(|layer| &layer.seed).map_or(0, |kept| *kept.value),
        padding: layers.said(|layer| &layer.padding).map_or(Padding::Right, |kept| *kept.value),
        attention: attention(layers, problems),
        axes: BTreeMap::new(),
        dims: BTreeMap::new(),
        placeholders: owned(layers.keyed(|layer| &layer.placeholders, problems)),
        inputs: plug::inputs(task, layers, problems),
        outputs: plug::outputs(task, layers, problems),
        omit: BTreeMap::new(),
        idle: idle(layers, problems),
        time_limit: layers.said(|layer| &layer.time_limit).map(|kept| *kept.value),
        memory_limit: layers.said(|layer| &layer.memory_limit).map(|kept| *kept.value),
        tolerance: Vec::new(),
        place: model.place.clone(),
    };
    if !entry.inputs.iter().any(|input| input.fill == Fill::Mask) {
        entry.padding = Padding::None;
    }
    for (key, empty) in [("inputs", entry.inputs.is_empty()), ("outputs", entry.outputs.is_empty())] {
        if empty {
            problems.add(&model.place, format!("{} has no {key} left", quoted(model.name.as_str())));
        }
    }
    measure::sizes(&mut entry, layers, problems);
    omissions(&mut entry, layers, problems);
    needs(&entry, problems);
    tolerances(&mut entry, layers, problems);
    (problems.count() == before).then_some(entry)
}

fn owned<T: Clone>(kept: BTreeMap<&str, Kept<T>>) -> BTreeMap<String, T> {
    kept.into_iter().map(|(key, kept)| (key.to_owned(), kept.value.clone())).collect()
}

/// The source, which `versions.yaml` must know.
fn source(member: Member, layers: &Layers, versions: Option<&Versions>, problems: &mut Problems) -> String {
    let said = layers.said(|layer| &layer.source);
    let (name, place) = said.map_or((SOURCE, &member.model.place), |kept| (kept.value.as_str(), kept.place));
    if let Some(versions) = versions.filter(|versions| !versions.sources.contains_key(name)) {
        let known = versions.sources.keys().map(String::as_str);
        unknown("versions.yaml has no source", name, known, place, problems);
    }
    name.to_owned()
}

/// The only attention, of which there can be one.
fn attention(layers: &Layers, problems: &mut Problems) -> Option<OneAttention> {
    let mut said = layers.keyed(|layer| &layer.attention, problems).into_iter();
    let (name, kept) = said.next()?;
    if let Some((_, other)) = said.next() {
        problems.add(
            other.place,
            "`attention` names two, of which one would be alone: give the other the value null",
        );
    }
    Some(OneAttention { name: name.to_owned(), reason: kept.value.clone() })
}

/// Parameters that move no output, by pattern.
fn idle(layers: &Layers, problems: &mut Problems) -> Vec<Idle> {
    let said = layers.keyed(|layer| &layer.idle, problems).into_iter();
    said.map(|(pattern, kept)| Idle {
        parameters: pattern.to_owned().into(),
        reason: kept.value.clone().into(),
        own: kept.own,
    })
    .collect()
}

/// Checks left out on purpose.
fn omissions(entry: &mut Entry, layers: &Layers, problems: &mut Problems) {
    for (name, kept) in layers.keyed(|layer| &layer.omit, problems) {
        let Some(check) = Check::find(name) else { continue };
        match check.unsuited(entry) {
            None => {
                entry.omit.insert(check, kept.value.clone());
            }
            Some(reason) if kept.own => problems.add(kept.place, format!("omit has no effect: {reason}")),
            Some(_) => {}
        }
    }
}

/// The ports that checks rely on must not have been dropped.
fn needs(entry: &Entry, problems: &mut Problems) {
    let generation = entry.task.generation;
    let needs = [
        (Check::Causal, entry.task.causal),
        (Check::Generates, generation.map(|generation| generation.grows)),
        (Check::Generates, generation.map(|generation| generation.logits)),
    ];
    let inputs = entry.inputs.iter().map(|input| &input.name);
    let ports: Vec<_> = inputs.chain(entry.outputs.iter().map(|output| &output.name)).collect();
    for (check, port) in needs {
        let Some(port) = port.filter(|port| !ports.iter().any(|name| name == port)) else { continue };
        if check.omitted(entry).is_none() {
            let check = check.name();
            let message =
                format!("check {check} needs '{port}', which this entry drops: keep it, or omit {check}");
            problems.add(&entry.place, message);
        }
    }
}

/// Debts that concern a check and an output the entry has.
fn tolerances(entry: &mut Entry, layers: &Layers, problems: &mut Problems) {
    let Some(waivers) = layers.said(|layer| &layer.tolerance) else { return };
    for waiver in waivers.value {
        match misplaced(&waiver.value, entry) {
            None => entry.tolerance.push(waiver.value),
            Some(reason) if waivers.own => {
                problems.add(&waiver.place, format!("tolerance has no effect: {reason}"))
            }
            Some(_) => {}
        }
    }
}

/// Why a waiver concerns nothing in the entry.
fn misplaced(waiver: &Waiver, entry: &Entry) -> Option<String> {
    if let Some(reason) = waiver.check.omitted(entry) {
        return Some(format!("{} is not run: {reason}", waiver.check.name()));
    }
    let output = waiver.output.as_deref()?;
    let names = || entry.outputs.iter().map(|port| port.name.as_ref());
    let missing = !names().any(|name| name == output);
    missing.then(|| format!("there is no output {}{}", quoted(output), did_you_mean(output, names())))
}
