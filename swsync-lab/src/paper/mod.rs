//! The tables and figures of the paper, reproduced: `swsync lab table1`, `table2`, `table3` and `fig-phase`.
//!
//! Each runs swsync's own code (estimators, time service, aligner, injector) in simulated time, on the simulator's clocks, links and
//! sensors, and prints its figures beside the paper's. What is no code of swsync, such as the naive triggers of Table I, is a
//! model, and its table says so. docs/paper.md has the results and what differs from the paper's experiments.

mod args;
pub mod fig_phase;
mod folder;
mod parallel;
mod spread;
pub mod table1;
pub mod table2;
pub mod table3;
