//! The checks of `swsync doctor` on hosts that are made of files: 20 healthy ones, and one for each finding.

mod findings;
mod healthy;
mod host;
mod mend;
