//! Layers over each other: for every key, the last one that speaks counts.
//!
//! In: a model and the models it is like. Out: what they say together. Scalars and lists replace what is
//! inherited, mappings merge key by key, `null` takes an inherited key away.

use super::entry::Place;
use super::family::Family;
use super::layer::{Keyed, Layer, Said};
use super::problem::{Problems, quoted};
use super::resolve::Member;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The layers of one entry.
pub(super) struct Layers<'a> {
    /// Defaults of families and liked models, the weakest first.
    inherited: Vec<&'a Layer>,
    own: &'a Layer,
}

/// What layers say under one key, and where.
pub(super) struct Kept<'a, T> {
    pub value: &'a T,
    pub place: &'a Place,
    /// The entry itself says it, so that having no effect is a mistake.
    pub own: bool,
}

impl<'a> Layers<'a> {
    /// The layers of the chain's first model; `None` when one of them is broken.
    pub fn new(chain: &[Member<'a>]) -> Option<Self> {
        let own = &chain.first()?.model.layer;
        let mut inherited: Vec<&Layer> = defaults(chain).into_iter().map(|family| &family.defaults).collect();
        inherited.extend(chain.iter().skip(1).rev().map(|member| &member.model.layer));
        let broken = own.broken || inherited.iter().any(|layer| layer.broken);
        (!broken).then_some(Self { inherited, own })
    }

    /// All layers, the weakest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &'a Layer> {
        self.inherited.iter().copied().chain([self.own])
    }

    /// Whether this is the entry's own layer.
    pub fn is_own(&self, layer: &Layer) -> bool {
        std::ptr::eq(self.own, layer)
    }

    /// The value of a scalar or list.
    pub fn said<T>(&self, get: fn(&Layer) -> &Said<T>) -> Option<Kept<'a, T>> {
        let (layer, said) = self.all().rev().find_map(|layer| Some((layer, get(layer).as_ref()?)))?;
        let value = said.value.as_ref()?;
        Some(Kept { value, place: &said.place, own: self.is_own(layer) })
    }

    /// The merged mapping.
    pub fn keyed<T>(
        &self,
        get: fn(&Layer) -> &Keyed<T>,
        problems: &mut Problems,
    ) -> BTreeMap<&'a str, Kept<'a, T>> {
        let mut kept = BTreeMap::new();
        for layer in self.all() {
            let own = self.is_own(layer);
            for item in get(layer) {
                if let Some(value) = &item.value {
                    kept.insert(item.key.as_str(), Kept { value, place: &item.place, own });
                } else if kept.remove(item.key.as_str()).is_none() && own {
                    nothing_to_remove(&item.key, &item.place, problems);
                }
            }
        }
        kept
    }

    /// The merged config.
    pub fn config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        for layer in self.all() {
            merge(&mut config, &layer.config);
        }
        config
    }
}

/// Notes a `null` that takes nothing away.
pub(super) fn nothing_to_remove(key: &str, place: &Place, problems: &mut Problems) {
    problems.add(place, format!("null has no effect: no {} is inherited", quoted(key)));
}

/// The families of a chain, the first model's first; a family met again counts where it comes last.
fn defaults<'a>(chain: &[Member<'a>]) -> Vec<&'a Family> {
    let mut families: Vec<&Family> = Vec::new();
    for member in chain {
        families.retain(|family| !std::ptr::eq(*family, member.family));
        families.push(member.family);
    }
    families
}

/// Lays a config over another. `null` takes an inherited key away; where nothing is inherited it stays, and
/// is Python's `None`.
fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (Some(_), Value::Null) => {
                base.remove(key);
            }
            (_, value) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}
