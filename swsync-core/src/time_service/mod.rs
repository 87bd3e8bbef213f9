//! The NTP time service, sans-IO: a [`Server`] that answers requests for rig time, and a [`Client`] that follows a server.
//!
//! Datagrams and their timestamps come in through `handle_*`. What to do next comes out of [`Client::poll_action`], or as the
//! [`ServerResponse`] of [`Server::handle_request`]. Neither allocates in steady operation. One exchange, over a network that
//! takes 1 ms each way:
//!
//! ```
//! use swsync_core::time_service::*;
//! use swsync_core::time::{Local, Rig, Span, Timestamp};
//!
//! let ms = |ms| Timestamp::<Local>::ZERO + Span::from_millis(ms);
//! let rig = |ms| Timestamp::<Rig>::from_nanos(1_800_000_000_000_000_000) + Span::from_millis(ms);
//! let mut client = Client::new(ClientConfig::default(), ms(0), rig(0), Seed::predictable(42));
//! let mut server = Server::new(ServerConfig::default());
//! let leader = ServerStatus::leading(&Identity { rig: 1, device: 2, timescale: 3 }, rig(0));
//!
//! client.handle_timeout(client.wake_at());
//! while let Some(action) = client.poll_action() {
//!     match action {
//!         ClientAction::Send { datagram, token } => {
//!             client.handle_sent(token, ms(0));
//!             let from = [10, 0, 0, 7].into();
//!             let response = server.handle_request(&datagram, from, rig(1), rig(1), &leader);
//!             client.handle_datagram(&response.expect("an answer").datagram, ms(2));
//!         }
//!         ClientAction::Publish(update) => assert_eq!(update.map.rig_at(ms(2)), rig(2)),
//!         ClientAction::Refused(refusal) => panic!("{refusal}"),
//!     }
//! }
//! ```
//!
//! - [`Client`] sends a burst of requests, then ever fewer. It matches responses to requests, gives the exchanges to an
//!   estimator ([`crate::estimate`]) and the estimates to the servo ([`crate::servo`]).
//! - [`Server`] answers, and keeps only bounded state about its clients.
//! - [`ServerStatus`] is what a server tells about its clock, as the leader or as a client that passes rig time on.
//! - [`SyncState`] is the state of a device's clock, [`RigTime`] the clock itself, [`Scale`] a time scale.
//! - [`Node`] is a device of the rig: it finds servers, follows one, and leads if it is elected.

mod advert;
mod client;
mod node;
mod rig_time;
mod scale;
mod server;
mod state;
mod status;
mod upstream;

pub use advert::{AdvertKind, AdvertisedTime, Advertiser, Claim, ClockClass, MAX_ADDRESSES, TimeAdvert};
pub use client::{
    Client, ClientAction, ClientConfig, ClientStats, ClockUpdate, MAX_KNOWN_ERROR, RoundTrips, Seed,
    SendToken, ServerRefusal,
};
pub use node::{Node, NodeAction, NodeConfig};
pub use rig_time::{LeadStart, RigTime};
pub use scale::Scale;
pub use server::{RequestLimit, ResponseToken, Server, ServerConfig, ServerResponse, ServerStats};
pub use state::SyncState;
pub use status::{Identity, ServerStatus};
pub use upstream::Upstream;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
