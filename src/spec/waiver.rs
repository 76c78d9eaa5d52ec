//! Looser tolerances.
//!
//! In: the list under `tolerance`. Out: [`Waiver`]s, each with a reason and an end.

use super::checks::Check;
use super::decode::At;
use super::entry::{Place, Waiver};
use super::problem::{Problems, one_of, quoted};
use super::tree::Node;
use crate::task::Text;
use jiff::civil::Date;

/// Largest factor: an error of 100 times eager's own is no rounding any more.
pub const K_MAX: f64 = 100.0;

const KEYS: [&str; 6] = ["check", "output", "k", "reason", "issue", "until"];

/// The items of `tolerance`.
pub(super) fn waivers(node: &Node, today: Date, problems: &mut Problems) -> Option<Vec<At<Waiver>>> {
    let items = node.list("tolerance", problems)?;
    let waivers: Vec<_> = items.iter().filter_map(|item| waiver(item, today, problems)).collect();
    for (index, waiver) in waivers.iter().enumerate() {
        if let Some(first) = waivers[..index].iter().find(|first| overlap(&first.value, &waiver.value)) {
            let message =
                format!("a second tolerance for the same check and output (first at {})", first.place);
            problems.add_between(&waiver.place, &first.place, message);
        }
    }
    Some(waivers)
}

/// Whether two waivers loosen the same comparison.
fn overlap(a: &Waiver, b: &Waiver) -> bool {
    a.check == b.check && (a.output == b.output || a.output.is_none() || b.output.is_none())
}

fn waiver(node: &Node, today: Date, problems: &mut Problems) -> Option<At<Waiver>> {
    let record = node.record("tolerance[]", &KEYS, problems)?;
    let check = record.need("check", problems).and_then(|node| named_check(node, problems));
    let k = record.need("k", problems).and_then(|node| factor(node, problems));
    let reason = record.need("reason", problems).and_then(|node| node.text("reason", problems));
    let output = record.optional("output", |node| node.text("output", problems));
    let issue = record.optional("issue", |node| issue(node, problems));
    let until = record.optional("until", |node| until(node, today, problems));
    if issue == Some(None) && until == Some(None) {
        problems.add(record.place, "a tolerance is a waiver: add `issue` (a link) or `until` (a date)");
    }
    let waiver = Waiver {
        check: check?,
        output: output?.map(|output| output.to_owned().into()),
        k: k?,
        reason: reason?.to_owned().into(),
        issue: issue?.map(Text::from),
        until: until?.map(Text::from),
    };
    Some(At { place: node.place.clone(), value: waiver })
}

fn named_check(node: &Node, problems: &mut Problems) -> Option<Check> {
    let name = node.text("check", problems)?;
    let check = check(name, &node.place, problems)?;
    if check == Check::Exact {
        problems.add(
            &node.place,
            "`exact` knows no rounding to allow more of: repair the cause, or omit the check",
        );
        return None;
    }
    Some(check)
}

/// The check of that name.
pub(super) fn check(name: &str, place: &Place, problems: &mut Problems) -> Option<Check> {
    let found = Check::find(name);
    if found.is_none() {
        let hint = one_of(name, Check::ALL.iter().map(|check| check.name()));
        problems.add(place, format!("unknown check {}{hint}", quoted(name)));
    }
    found
}

/// A link to where the cause is tracked.
fn issue(node: &Node, problems: &mut Problems) -> Option<String> {
    let link = node.text("issue", problems)?;
    let valid = link.starts_with("https://") && !link.contains(char::is_whitespace);
    if !valid {
        problems.add(&node.place, format!("`issue` must be an https:// link, not {}", quoted(link)));
    }
    valid.then(|| link.to_owned())
}

/// The rule's new factor.
fn factor(node: &Node, problems: &mut Problems) -> Option<f64> {
    let k = node.positive("k", problems)?;
    if k > K_MAX {
        problems.add(
            &node.place,
            format!("`k` must be at most {K_MAX}, not {k}: repair the cause, or omit the check"),
        );
        return None;
    }
    Some(k)
}

/// A date; one that has passed is a warning, since nobody edited anything wrong.
fn until(node: &Node, today: Date, problems: &mut Problems) -> Option<String> {
    let text = node.text("until", problems)?;
    let Some(date) = day(text) else {
        problems.add(&node.place, format!("`until` must be a date like 2026-01-31, not {}", quoted(text)));
        return None;
    };
    if date < today {
        problems.warn(&node.place, format!("this tolerance ended on {date}: remove it, or repair its cause"));
    }
    Some(text.to_owned())
}

/// The day that is written as `YYYY-MM-DD`; jiff alone would also read a time behind it, and shorter spellings.
fn day(text: &str) -> Option<Date> {
    text.parse().ok().filter(|date: &Date| date.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_spelling() {
        assert_eq!(day("2028-02-29"), Some(jiff::civil::date(2028, 2, 29)));
        let table = [
            "",
            "2026",
            "2026-1-1",
            "2026-02-29",
            "2026-02-30",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "+026-01-01",
            "20260131",
            "2026-01-31T10:00",
            "2026-01-31 10:00",
            " 2026-01-31",
            "2026-W05-6",
        ];
        for text in table {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
