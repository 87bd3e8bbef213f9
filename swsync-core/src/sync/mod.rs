//! The time service: a server that answers and a client that asks, sans-IO.
//!
//! Datagrams and their timestamps come in through `handle_*`; what to do next comes out of
//! [`Client::poll_action`], or as the [`Response`] of [`Server::handle_request`]. Neither allocates once it
//! runs. One exchange, over a network that takes 1 ms each way:
//!
//! ```
//! use swsync_core::sync::*;
//! use swsync_core::time::{Local, Rig, Span, Timestamp};
//!
//! let ms = |ms| Timestamp::<Local>::ZERO + Span::from_millis(ms);
//! let rig = |ms| Timestamp::<Rig>::from_nanos(1_800_000_000_000_000_000) + Span::from_millis(ms);
//! let mut client = Client::new(ClientConfig::default(), ms(0), rig(0), 42);
//! let mut server = Server::new(ServerConfig::default());
//! let leader = ServerStatus::leading(&Identity { rig: 1, device: 2, timescale: 3 }, rig(0));
//!
//! client.handle_timeout(client.wake_at());
//! while let Some(action) = client.poll_action() {
//!     match action {
//!         Action::Send { datagram, token } => {
//!             client.handle_sent(token, ms(0));
//!             let from = [10, 0, 0, 7].into();
//!             let response = server.handle_request(&datagram, from, rig(1), rig(1), &leader);
//!             client.handle_datagram(&response.expect("an answer").datagram, ms(2));
//!         }
//!         Action::Publish(update) => assert_eq!(update.map.rig_at(ms(2)), rig(2)),
//!         Action::Refused(refusal) => panic!("{refusal}"),
//!     }
//! }
//! ```
//!
//! - [`Client`] asks: a burst, then ever more rarely. It matches responses to requests, gives the
//!   exchanges to an estimator ([`crate::estimate`]) and what that says to a servo ([`crate::clock`]).
//! - [`Server`] answers, and remembers of clients no more than interleaved mode needs.
//! - [`ServerStatus`] is what a server says of its clock: as the leader, or as a client that passes on what it
//!   knows.

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
