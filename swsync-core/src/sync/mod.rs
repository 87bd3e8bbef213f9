//! The time service: a server that answers and a client that asks, sans-IO.
//!
//! Datagrams and their timestamps come in through `handle_*`; what to do next comes out of
//! [`Client::poll_action`], or as the [`Response`] of [`Server::handle_request`]. Neither allocates once it
//! runs.

mod client;
mod server;
mod status;

pub use client::{Action, Client, ClientConfig, ClientStats, ClockUpdate, Refusal, RoundTrips, SendToken};
pub use server::{RateLimit, Response, ResponseToken, Server, ServerConfig, ServerStats};
pub use status::{Identity, ServerStatus, Upstream};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
