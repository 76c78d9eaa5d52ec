//! Shares as people read them.
//!
//! In: a part and the whole it is counted from. Out: a [`Share`], the one way in which reports write percentages.

use std::fmt;

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Tenths of a percent; none where there is nothing to have a share of.
    tenths: Option<usize>,
}

impl Share {
    /// `part` of `all`, in tenths of a percent. Everything is said of everything alone, and nothing of nothing alone:
    /// 7046 of 7047 are 99.9 %, one of them is 0.1 %.
    pub fn of(part: usize, all: usize) -> Self {
        let tenths = match (part, all) {
            (_, 0) => None,
            (0, _) => Some(0),
            (part, all) if part == all => Some(1000),
            (part, all) => Some(((2000 * part + all) / (2 * all)).clamp(1, 999)),
        };
        Self { tenths }
    }

    /// The same as the width of a bar in CSS: `99.9%`.
    pub fn width(self) -> String {
        let tenths = self.tenths.unwrap_or(0);
        format!("width:{}.{}%", tenths / 10, tenths % 10)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tenths {
            Some(tenths) => write!(f, "{}.{} %", tenths / 10, tenths % 10),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_said_of_all_alone_and_nothing_of_nothing_alone() {
        let shares = [(7047, 7047), (7046, 7047), (1, 7047), (0, 7047), (1, 2), (2, 3), (0, 0)];
        assert_eq!(
            shares.map(|(part, all)| Share::of(part, all).to_string()),
            ["100.0 %", "99.9 %", "0.1 %", "0.0 %", "50.0 %", "66.7 %", "none"]
        );
        assert_eq!(Share::of(7046, 7047).width(), "width:99.9%");
    }
}
