//! Which orders are due: those whose files are missing, or made from something else than the entry as it stands.

use super::order::{Anew, ExportPlan, Order};
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
    let all = plan.anew == Anew::All && (made.is_some() || plan.lane.format == Format::TorchScript);
    // What is in a checkpoint's folder is not known: those are always exported again.
    let is_due = |order: &Order| order.weights.is_some() || wanted(plan, made, order) != Freshness::Fresh;
    orders.into_iter().partition(|order| all || is_due(order))
}

/// Those of the orders whose files somebody else made, from the entry as it stands.
pub(super) fn foreign<'a, 'b>(
    plan: &'b ExportPlan,
    made: Option<Beside>,
    orders: impl Iterator<Item = &'b Order<'a>>,
) -> impl Iterator<Item = &'b Order<'a>>
where
    'a: 'b,
{
    let plain = orders.filter(|order| order.weights.is_none());
    plain.filter(move |order| wanted(plan, made, order) == Freshness::Foreign)
}

/// How the artifact of an order, or what is beside it, stands to the entry.
fn wanted(plan: &ExportPlan, made: Option<Beside>, order: &Order) -> Freshness {
    let folder = order.folder(&plan.root);
    match made {
        None => state_of(&folder, order.entry, &plan.spec.versions),
        Some(what) => match (artifact::listed(&folder, what), key_beside(what, &folder)) {
            (Ok(Some(found)), Ok(key)) if found.key == key => whose(&folder.join(what.list())),
            (Ok(None), _) => Freshness::Missing,
            _ => Freshness::Stale,
        },
    }
}

/// How a list of files of the right key stands to this checkout.
fn whose(list: &Path) -> Freshness {
    match artifact::is_ours(list) {
        Ok(true) => Freshness::Fresh,
        Ok(false) => Freshness::Foreign,
        Err(_) => Freshness::Stale,
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
    /// Made from the same, but not by this checkout: the next test exports it again, unless it is taken as it is.
    Foreign,
    Missing,
}

impl Freshness {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fresh => "up to date",
            Self::Stale => "stale",
            Self::Foreign => "made elsewhere",
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
            whose(&folder.join(artifact::MANIFEST))
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
