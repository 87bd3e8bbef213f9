//! The time service: a leader that answers and a client that asks, sans-IO.

mod client;
mod server;

pub use client::{Action, Client, ClientConfig, ClockUpdate, SendToken};
pub use server::Server;

#[cfg(test)]
mod tests;
