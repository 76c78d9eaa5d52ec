//! Inheritance: a family's defaults < what `like` names < the model itself.
//!
//! In: families as they were read. Out: entries, sorted by family and name; every name unique.

use super::assemble;
use super::decode::unknown;
use super::entry::{Entry, Missing, Place, Versions};
use super::family::{Family, Model};
use super::layers::Layers;
use super::problem::{Problems, quoted};
use std::collections::HashMap;

/// Most models that one may be like, one through the other: more would be hard to follow.
const LIKE_MAX: usize = 8;

/// A model and the family it is in.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub family: &'a Family,
    pub model: &'a Model,
}

/// Resolves all models; a family that could not be read is `None`.
pub(super) fn resolve(
    families: &[Option<Family>],
    versions: Option<&Versions>,
    problems: &mut Problems,
) -> Vec<Entry> {
    let members: Vec<_> = families
        .iter()
        .flatten()
        .flat_map(|family| family.models.iter().map(move |model| Member { family, model }))
        .collect();
    let index = index(&members, problems);
    let all_read = families.iter().all(Option::is_some);
    let mut entries: Vec<_> = members
        .iter()
        .filter_map(|member| {
            let chain = chain(*member, &index, all_read, problems)?;
            let layers = Layers::new(&chain)?;
            assemble::entry(*member, &layers, versions, problems)
        })
        .collect();
    entries.sort_by(|a, b| (&a.family, &a.name).cmp(&(&b.family, &b.name)));
    entries
}

/// What the families miss; nothing can be missing and there.
pub(super) fn missing(families: &[Option<Family>], problems: &mut Problems) -> Vec<Missing> {
    let families = || families.iter().flatten();
    let models: HashMap<&str, &Place> = families()
        .flat_map(|family| &family.models)
        .map(|model| (model.name.as_str(), &model.name_place))
        .collect();
    let mut missing = Vec::new();
    for absent in families().flat_map(|family| &family.missing) {
        let name = absent.name.as_str();
        if let Some(place) = models.get(name) {
            let message = format!("{} is missing and there ({place})", quoted(name));
            problems.add_between(&absent.place, place, message);
        }
        missing.push(absent.clone());
    }
    missing
}

/// The models by name. Modules and results are named after models, so no two may meet, in any family.
fn index<'a>(members: &[Member<'a>], problems: &mut Problems) -> HashMap<&'a str, Member<'a>> {
    let mut by_name = HashMap::new();
    let mut by_module = HashMap::<String, &Model>::new();
    for member in members {
        let model = member.model;
        by_name.entry(model.name.as_str()).or_insert(*member);
        let module = model.name.module();
        if let Some(first) = by_module.get(&module) {
            let (name, place) = (quoted(model.name.as_str()), &first.name_place);
            let message = if first.name == model.name {
                format!("{name} is here twice (first at {place})")
            } else {
                let other = quoted(first.name.as_str());
                format!("{name} and {other} ({place}) both become module {module}")
            };
            problems.add_between(&model.name_place, place, message);
        } else {
            by_module.insert(module, model);
        }
    }
    by_name
}

/// A model, what it is like, what that is like, and so on; `None` when that leads nowhere.
fn chain<'a>(
    start: Member<'a>,
    index: &HashMap<&'a str, Member<'a>>,
    all_read: bool,
    problems: &mut Problems,
) -> Option<Vec<Member<'a>>> {
    let mut chain = vec![start];
    let mut last = start.model;
    while let Some(like) = &last.like {
        let Some(next) = index.get(like.value.as_str()) else {
            if all_read {
                unknown("`like` names no model:", &like.value, index.keys().copied(), &like.place, problems);
            }
            return None;
        };
        if chain.iter().any(|member| std::ptr::eq(member.model, next.model)) {
            circle(&chain, next.model, problems);
            return None;
        }
        if chain.len() > LIKE_MAX {
            problems
                .add(start.model.like_place(), format!("`like` leads through more than {LIKE_MAX} models"));
            return None;
        }
        chain.push(*next);
        last = next.model;
    }
    Some(chain)
}

/// Notes a circle of `like`, once: at the first of its members.
fn circle(chain: &[Member], back_to: &Model, problems: &mut Problems) {
    let start = chain[0].model;
    let is_first = chain.iter().all(|member| start.place <= member.model.place);
    if std::ptr::eq(start, back_to) && is_first {
        let names: Vec<_> = chain.iter().map(|member| member.model.name.as_str()).collect();
        let path = names.join(" → ");
        problems.add(start.like_place(), format!("`like` goes in a circle: {path} → {}", start.name));
    }
}
