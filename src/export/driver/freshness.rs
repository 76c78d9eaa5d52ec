//! Which orders are due: those whose files are missing, or made from something else than the entry as it stands.

use super::order::{ExportPlan, Order};
use crate::artifact::{self, Beside, Format, key};
use crate::failure::Failure;
use crate::spec::{Entry, Versions};
use serde::Serialize;
use std::path::Path;

/// The orders that must be carried out, and those whose files are as they want them.
pub(super) fn due<'a, 'b>(
    plan: &ExportPlan,
    made: Option<Beside>,
    orders: Vec<&'b Order<'a>>,
) -> (Vec<&'b Order<'a>>, Vec<&'b Order<'a>>) {
    let force = plan.force && (made.is_some() || plan.lane.format == Format::TorchScript);
    orders.into_iter().partition(|order| force || !up_to_date(plan, made, order))
}

/// Whether the artifact of an order, or what is beside it, is made from the entry as it stands. What is in a checkpoint's
/// folder is not known: those are always exported again.
fn up_to_date(plan: &ExportPlan, made: Option<Beside>, order: &Order) -> bool {
    let folder = order.folder(&plan.root);
    order.weights.is_none()
        && match made {
            None => state_of(&folder, order.entry, &plan.spec.versions) == Freshness::Fresh,
            Some(what) => {
                let (found, key) = (artifact::listed(&folder, what), key_beside(what, &folder));
                matches!((found, key), (Ok(Some(found)), Ok(key)) if found.key == key)
            }
        }
}

/// How an artifact stands to the entry it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// Made from the entry, the pins and the exporter as they are now.
    Fresh,
    /// Made from others: the next test exports it again.
    Stale,
    Missing,
}

impl Freshness {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fresh => "up to date",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// The state of an entry's artifact below `root`.
pub fn state(entry: &Entry, versions: &Versions, root: &Path) -> Freshness {
    state_of(&Order::plain(entry).folder(root), entry, versions)
}

fn state_of(folder: &Path, entry: &Entry, versions: &Versions) -> Freshness {
    match artifact::origin(folder) {
        Ok(Some(found)) if found.key == key::of(&entry.digest(versions), found.model_type.as_deref()) => {
            Freshness::Fresh
        }
        Ok(None) => Freshness::Missing,
        _ => Freshness::Stale,
    }
}

/// The key that the files beside the artifact in a folder have.
pub(super) fn key_beside(what: Beside, folder: &Path) -> Result<String, Failure> {
    let found = artifact::origin(folder)?.ok_or_else(|| artifact::no_artifact(folder))?;
    Ok(key::beside(what, &found.key))
}
