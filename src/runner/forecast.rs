//! What a run of any size would cost on several machines, by what a smaller one did cost on this one.
//!
//! In: seconds that each model's checks took, and an export. Out: a [`Forecast`] for a number of cells (a cell is one model
//! on one device, engine and precision) and of machines. Cells are spread as [`Shard`]s spread models.

use super::shard::Shard;
use std::collections::BTreeSet;

/// What was measured on one machine, all of its processors at work.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Seconds of each model's checks.
    pub checks: Vec<f64>,
    /// Seconds of the export of one model, on average.
    pub export: f64,
}

/// A run on so many machines like that one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    pub machines: usize,
    /// Cells of the machine that has most of them.
    pub cells: usize,
    /// Seconds of the checks on the machine that takes longest.
    pub checks: f64,
    /// Seconds of the exports where each machine makes what it needs, on the one that takes longest.
    pub own_exports: f64,
    /// The same where all share a folder of artifacts, and each makes its part.
    pub shared_exports: f64,
    /// How evenly the checks are spread: the mean over the longest.
    pub balance: f64,
}

impl Measured {
    /// A run of `cells` cells, in which models take turns, on so many machines; none where no model was measured.
    pub fn forecast(&self, cells: usize, machines: usize) -> Option<Forecast> {
        let models = self.checks.len();
        if models == 0 || machines == 0 {
            return None;
        }
        let parts = Vec::from_iter(Shard::all(machines).map(|shard| shard.part(0..cells)));
        let seconds = |part: &Vec<usize>| part.iter().map(|cell| self.checks[cell % models]).sum::<f64>();
        let exports = |part: &Vec<usize>| {
            self.export * part.iter().map(|cell| cell % models).collect::<BTreeSet<_>>().len() as f64
        };
        let most = |costs: &dyn Fn(&Vec<usize>) -> f64| parts.iter().map(costs).fold(0.0, f64::max);
        let longest = most(&seconds);
        let mean = parts.iter().map(seconds).sum::<f64>() / machines as f64;
        Some(Forecast {
            machines,
            cells: parts.iter().map(Vec::len).max().unwrap_or(0),
            checks: longest,
            own_exports: most(&exports),
            shared_exports: self.export * models.min(cells).div_ceil(machines) as f64,
            balance: if longest > 0.0 { mean / longest } else { 1.0 },
        })
    }
}

impl Forecast {
    /// Seconds until the last machine is done, with exports of its own or shared ones.
    pub fn seconds(&self, shared: bool) -> f64 {
        self.checks + if shared { self.shared_exports } else { self.own_exports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_share_the_checks_and_only_a_shared_folder_spares_exports() {
        let measured = Measured { checks: vec![1.0, 2.0, 3.0], export: 10.0 };
        let forecast = |machines| measured.forecast(12, machines).unwrap();
        let alone = forecast(1);
        assert_eq!((alone.cells, alone.checks, alone.balance), (12, 24.0, 1.0));
        assert_eq!((alone.own_exports, alone.shared_exports), (30.0, 30.0));
        // Each second cell: models 0, 2, 1, 0, 2, 1 and 1, 0, 2, 1, 0, 2.
        let two = forecast(2);
        assert_eq!((two.cells, two.checks, two.own_exports, two.shared_exports), (6, 12.0, 30.0, 20.0));
        assert_eq!((two.seconds(false), two.seconds(true)), (42.0, 32.0));
        // Each third cell is always of the same model.
        let three = forecast(3);
        assert_eq!((three.checks, three.own_exports, three.balance), (12.0, 10.0, 8.0 / 12.0));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert_eq!(Measured { checks: Vec::new(), export: 1.0 }.forecast(10, 2), None);
        assert_eq!(Measured { checks: vec![1.0], export: 1.0 }.forecast(10, 0), None);
    }
}
