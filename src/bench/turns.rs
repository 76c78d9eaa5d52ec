//! Several ways to run a model measured in turns, until their medians stand still.
//!
//! In: a function that runs so many forwards in one of the ways and says how many milliseconds each took. Out: [`Times`]
//! of every way. What the machine does meanwhile (other work, heat) then meets all alike.

use crate::report::speed::Times;
use std::time::{Duration, Instant};

/// How long a round of one way should take, in milliseconds: long enough to outlast a hiccup.
const ROUND_MS: f64 = 15.0;
/// Forwards that tell how many fill a round: the first ones compile. Where one takes longer than `LONG`, it fills any.
const PILOT: usize = 5;
const LONG: f64 = 500.0;
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

/// How a forward is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The exported program, from Rust, on the engine of that place among those that are measured.
    Engine(usize),
    /// The eager model, in Python.
    Eager,
    /// The same under torch.compile.
    Compiled,
}

/// Measures every way, each round in their order; what stands for a forward is `measure`'s own matter.
///
/// # Errors
/// The first error of any of them.
pub fn in_turns<W: Copy, E>(
    ways: &[W],
    mut measure: impl FnMut(W, usize) -> Result<Vec<f64>, E>,
) -> Result<Vec<Times>, E> {
    let mut round = |counts: &[usize]| -> Result<Vec<Vec<f64>>, E> {
        ways.iter().zip(counts).map(|(way, count)| measure(*way, *count)).collect()
    };
    let first = round(&vec![1; ways.len()])?;
    let is_short = first.iter().flatten().all(|time| *time < LONG);
    let pilot = if is_short { round(&vec![PILOT - 1; ways.len()])? } else { first };
    let counts: Vec<usize> = pilot.iter().map(|times| per_round(times)).collect();
    let mut before = vec![f64::INFINITY; ways.len()];
    for _ in 0..WARM_ROUNDS {
        let now: Vec<f64> = round(&counts)?.iter().map(|times| median(times)).collect();
        let still = now.iter().zip(before).all(|(now, before)| *now >= (1.0 - STILL) * before);
        before = now;
        if still {
            break;
        }
    }
    let started = Instant::now();
    let mut rounds: Vec<Vec<Vec<f64>>> = vec![Vec::new(); ways.len()];
    for number in 1..=*ROUNDS.end() {
        for (own, times) in rounds.iter_mut().zip(round(&counts)?) {
            own.push(times);
        }
        let rested = rounds
            .iter()
            .all(|rounds| spread(rounds) <= SPREAD && rounds.iter().map(Vec::len).sum::<usize>() >= FORWARDS);
        if number >= *ROUNDS.start() && (rested || started.elapsed() > BUDGET) {
            break;
        }
    }
    Ok(rounds.iter().map(|rounds| times(rounds)).collect())
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

    const BOTH: [Way; 2] = [Way::Engine(0), Way::Eager];

    #[test]
    fn slow_first_forwards_do_not_count_and_ways_take_turns() {
        let (mut calls, mut order) = (0, Vec::new());
        let ways = [Way::Engine(0), Way::Engine(1), Way::Eager, Way::Compiled];
        let times = in_turns(&ways, |way, count| -> Result<Vec<f64>, ()> {
            order.push(way);
            let time = match way {
                Way::Engine(0) if calls < 4 => {
                    calls += 1;
                    10.0 / f64::from(calls)
                }
                Way::Engine(0) => 1.0,
                Way::Engine(_) => 1.5,
                Way::Eager => 2.0,
                Way::Compiled => 3.0,
            };
            Ok(vec![time; count])
        });
        let times = times.unwrap();
        assert_eq!(times.iter().map(|times| times.p50_ms).collect::<Vec<_>>(), [1.0, 1.5, 2.0, 3.0]);
        assert_eq!(times[0].p95_ms, 1.0);
        assert!(order.chunks(4).all(|round| round == ways), "{order:?}");
    }

    #[test]
    fn a_forward_that_takes_long_is_not_run_five_times_before_it_is_measured() {
        let mut forwards = 0;
        let _ = in_turns(&BOTH, |_, count| -> Result<Vec<f64>, ()> {
            forwards += count;
            Ok(vec![2.0 * LONG; count])
        });
        let rested = 2 * FORWARDS;
        assert_eq!(forwards - rested, 2 * (1 + 2), "one to try, two to be warm");
    }

    #[test]
    fn what_does_not_come_to_rest_ends_all_the_same() {
        let mut calls = 0;
        let times = in_turns(&BOTH, |way, count| -> Result<Vec<f64>, ()> {
            calls += usize::from(way == Way::Engine(0));
            Ok(vec![if way == Way::Engine(0) { [1.0, 3.0, 9.0][calls % 3] } else { 1.0 }; count])
        });
        assert!(times.unwrap()[0].spread > SPREAD);
    }

    #[test]
    fn an_error_of_any_way_ends_it() {
        for wrong in BOTH {
            let measure = |way, count| if way == wrong { Err(way) } else { Ok(vec![1.0; count]) };
            assert_eq!(in_turns(&BOTH, measure).unwrap_err(), wrong);
        }
    }
}
