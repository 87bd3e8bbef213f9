//! `swsync dashboard`: a page for a whole rig, and an HTTP API beneath it.
//!
//! One thread asks the devices how they are (`watch`) for all pages that are open. Pages get the whole state once, and from then on what
//! has changed (`live`, `events`). Orders are followed by a thread each (`orders`), so that every page shows the same answers. All
//! else is a request that one page makes: settings, takes, pictures. Whoever may ask is decided in one place, `access`.
//!
//! The API says what the commands say with `--json`: the documents are theirs. `openapi.json` is made from the types and the list of
//! routes in `api`; a test compares them, and answers of the server with it.
//!
//! It reaches the rig only through `swsync-client`. Must never import GStreamer or `swsync-sim`.

#![forbid(unsafe_code)]

pub mod access;
pub mod api;
mod args;
mod date;
mod events;
mod failure;
mod history;
mod json;
mod live;
#[cfg(feature = "schema")]
pub mod openapi;
mod orders;
mod pages;
mod peeks;
mod pictures;
mod rates;
mod report;
mod requests;
mod row;
mod serve;
mod settings;
mod state;
mod takes;
mod tls;
mod watch;
mod zipped;

pub use args::DashboardArgs;
pub use serve::{Server, run};
pub use state::Dashboard;
