//! Reads many photographs of the panel, and prints how often the reading is wrong, and how often refused.
//!
//! `cargo run -p swsync-sim --example panel_precision -- [SEED] [PHOTOGRAPHS] [THREADS] [NUMBER]...`
//!
//! With numbers, only those photographs are read.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "an example for people: it prints, takes arguments and writes pictures; sizes are small"
)]

use std::collections::BTreeMap;

use swsync_sim::photograph::Trouble;
use trial::{Outcome, Read, trial};

mod trial;

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let seed = args.next().unwrap_or(1);
    let count = args.next().unwrap_or(10_000);
    let threads = args.next().unwrap_or(2);
    let numbers: Vec<u64> = args.collect();
    if !numbers.is_empty() {
        print(&numbers.into_iter().map(|n| trial(seed, n)).collect::<Vec<_>>());
        return;
    }
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|t| {
                scope.spawn(move || {
                    (t..count).step_by(threads as usize).map(|n| trial(seed, n)).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().expect("a worker that does not panic")).collect()
    });
    print(&outcomes);
}

fn print(outcomes: &[Outcome]) {
    println!(
        "{:<14} {:>6} {:>8} {:>26} {:>28}",
        "trouble", "read", "refused", "error us: rms, max", "error/uncertainty: rms, max"
    );
    let mut wrong = 0;
    for trouble in Trouble::ALL {
        let all: Vec<&Outcome> = outcomes.iter().filter(|o| o.trouble == trouble).collect();
        let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
        let (mut read, mut rms, mut most, mut ratios, mut worst, mut sigma) =
            (0.0_f64, 0.0, 0.0_f64, 0.0, 0.0_f64, 0.0);
        for outcome in &all {
            match &outcome.reading {
                Ok(Read { error, uncertainty, slot }) => {
                    let ratio = error / uncertainty;
                    let scaled = error * 200.0 / slot;
                    read += 1.0;
                    rms += scaled * scaled;
                    sigma += uncertainty * 200.0 / slot;
                    most = most.max(scaled.abs());
                    ratios += ratio * ratio;
                    worst = worst.max(ratio.abs());
                    if outcome.is_wrong() {
                        wrong += 1;
                        println!(
                            "! {trouble:?} {}: error {error:.0} us, said {uncertainty:.0} us; {}",
                            outcome.number, outcome.tells
                        );
                    }
                }
                Err(reason) => *reasons.entry(reason).or_default() += 1,
            }
        }
        println!(
            "{:<14} {read:>6} {:>8} {:>8.1} {most:>8.1} said {:>6.1} {:>8.2} {worst:>8.2}   {reasons:?}",
            format!("{trouble:?}"),
            all.len() as f64 - read,
            (rms / read).sqrt(),
            sigma / read,
            (ratios / read).sqrt(),
        );
    }
    println!("{wrong} confident errors in {} photographs", outcomes.len());
}
