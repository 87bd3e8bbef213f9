//! Networks on one machine: hosts are network namespaces, joined by switches, routers and bad links.
//!
//! [`Host`] is a namespace with interfaces of its own; processes are started in it with [`Host::entry`]. A [`Switch`] has segments,
//! which do not know each other, and ports that are moved from one to another while hosts run: a cable pulled, a network cut in two.
//! [`BadLinks`] sit between a port and its segment, and lose or hold packets. All are gone when they are dropped.
//!
//! It takes `ip` (iproute2), `unshare` and `nsenter` (util-linux), and root, or a user namespace in which this process is root.
//! `swsync lab chaos` and the end-to-end tests of networks use it.

mod bad_links;
mod checksum;
mod host;
mod switch;
#[cfg(test)]
mod tests;

pub use bad_links::{BadLinks, Badness, Counts};
pub use host::Host;
pub(crate) use host::batch;
pub use switch::{Port, Switch};
