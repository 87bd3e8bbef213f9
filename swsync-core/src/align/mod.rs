//! Alignment: frames in, control actions out, so that every frame lies on the grid.
//!
//! [`Aligner`] is for sensors with adjustable frame lengths. It estimates the phase and rate of the stream (`filter`), knows
//! which frame has which of the lengths that it asked for (`delayed_lengths`), and asks for the length that brings the first
//! frame that is still open nearest to the grid (`plan`). [`inject`] is for cameras where only the exposure can be set, and
//! [`reset`] for cameras without any control. [`calibrate`] measures a camera's response to long exposures.
//!
//! docs/phase.md derives the model, lists what can go wrong, and measures it.

mod aligner;
pub mod calibrate;
mod config;
mod delayed_lengths;
mod delivery;
mod effect;
pub mod exposure_response;
mod filter;
pub mod inject;
mod lock;
pub(crate) mod numbers;
mod plan;
pub mod point;
mod problem;
pub mod reset;
mod response_estimator;

pub use aligner::{Aligner, AlignerReport};
pub use config::{AlignerConfig, AlignerTarget, SensorTiming};
pub use problem::AlignProblem;
