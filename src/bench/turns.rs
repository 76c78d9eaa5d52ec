//! Two sides measured in turns, until their medians stand still.
//!
//! In: two functions that run so many forwards and say how many milliseconds each took. Out: [`Times`] of both. What
//! the machine does meanwhile (other work, heat) then meets both alike.

use crate::report::speed::Times;
use std::time::{Duration, Instant};

/// How long a round of one side should take, in milliseconds: long enough to outlast a hiccup.
const ROUND_MS: f64 = 15.0;
/// Forwards that tell how many fill a round: the first ones compile.
const PILOT: usize = 5;
/// Fewer forwards than this have no 95th percentile.
const FORWARDS: usize = 20;
/// Most forwards of a round.
const MOST: usize = 50;
/// Warm once no median falls by more than this share any more.
const STILL: f64 = 0.05;
/// Enough once the medians' standard error is this share of them.
const SPREAD: f64 = 0.01;
const WARM_ROUNDS: usize = 12;
const ROUNDS: std::ops::RangeInclusive<usize> = 5..=60;
/// Ends what does not come to rest.
const BUDGET: Duration = Duration::from_secs(3);

/// Measures both sides.
///
/// # Errors
/// The first error of either side.
pub fn in_turns<E>(
    mut rust: impl FnMut(usize) -> Result<Vec<f64>, E>,
    mut python: impl FnMut(usize) -> Result<Vec<f64>, E>,
) -> Result<(Times, Times), E> {
    let counts = [per_round(&rust(PILOT)?), per_round(&python(PILOT)?)];
    let mut round = || Ok([rust(counts[0])?, python(counts[1])?]);
    let mut before = [f64::INFINITY; 2];
    for _ in 0..WARM_ROUNDS {
        let now = round()?.map(|times| median(&times));
        let still = now.iter().zip(before).all(|(now, before)| *now >= (1.0 - STILL) * before);
        before = now;
        if still {
            break;
        }
    }
    let started = Instant::now();
    let mut rounds: [Vec<Vec<f64>>; 2] = [Vec::new(), Vec::new()];
    while rounds[0].len() < *ROUNDS.end() {
        let [rust, python] = round()?;
        rounds[0].push(rust);
        rounds[1].push(python);
        let rested = rounds
            .iter()
            .all(|rounds| spread(rounds) <= SPREAD && rounds.iter().map(Vec::len).sum::<usize>() >= FORWARDS);
        if rounds[0].len() >= *ROUNDS.start() && (rested || started.elapsed() > BUDGET) {
            break;
        }
    }
    let [rust, python] = rounds.map(|rounds| times(&rounds));
    Ok((rust, python))
}

/// How many forwards fill a round, by the fastest of a pilot.
fn per_round(pilot: &[f64]) -> usize {
    let time = pilot.iter().copied().fold(f64::INFINITY, f64::min).max(1e-3);
    ((ROUND_MS / time) as usize).clamp(1, MOST)
}

fn times(rounds: &[Vec<f64>]) -> Times {
    let mut all: Vec<f64> = rounds.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    Times {
        p50_ms: quantile(&all, 0.5),
        p95_ms: quantile(&all, 0.95),
        forwards: all.len(),
        spread: spread(rounds),
    }
}

/// The standard error of the rounds' medians as a share of their median; by the median deviation, which one slow round
/// does not move. 1.4826 makes that a standard deviation, 1.2533 the median's standard error of it.
fn spread(rounds: &[Vec<f64>]) -> f64 {
    let medians: Vec<f64> = rounds.iter().map(|round| median(round)).collect();
    let middle = median(&medians);
    let deviations: Vec<f64> = medians.iter().map(|one| (one - middle).abs()).collect();
    1.2533 * 1.4826 * median(&deviations) / middle / (medians.len() as f64).sqrt()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The value below which that share of `sorted` lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[test]
    fn slow_first_forwards_do_not_count_and_sides_alternate() {
        let (calls, order) = (Cell::new(0), RefCell::new(String::new()));
        let rust = |count: usize| -> Result<Vec<f64>, ()> {
            calls.set(calls.get() + 1);
            order.borrow_mut().push('r');
            Ok(vec![if calls.get() < 5 { 10.0 / calls.get() as f64 } else { 1.0 }; count])
        };
        let python = |count: usize| {
            order.borrow_mut().push('p');
            Ok(vec![2.0; count])
        };
        let (rust, python) = in_turns(rust, python).unwrap();
        assert_eq!((rust.p50_ms, rust.p95_ms, python.p50_ms), (1.0, 1.0, 2.0));
        assert!(order.borrow().replace("rp", "").is_empty(), "{}", order.borrow());
    }

    #[test]
    fn what_does_not_come_to_rest_ends_all_the_same() {
        let calls = Cell::new(0);
        let restless = |count: usize| -> Result<Vec<f64>, ()> {
            calls.set(calls.get() + 1);
            Ok(vec![[1.0, 3.0, 9.0][calls.get() % 3]; count])
        };
        let (rust, _) = in_turns(restless, |count| Ok(vec![1.0; count])).unwrap();
        assert!(rust.spread > SPREAD);
    }

    #[test]
    fn an_error_of_either_side_ends_it() {
        assert_eq!(in_turns(|_| Err("r"), |_| Ok(vec![1.0])).unwrap_err(), "r");
        assert_eq!(in_turns(|_| Ok(vec![1.0]), |_| Err("p")).unwrap_err(), "p");
    }
}
