//! Hubs: the few processes of a rig that all others connect to.
//!
//! A hub is a Zenoh router in the process of a device. Sessions of devices and visitors are Zenoh clients of one hub each; hubs are
//! linked with each other, and pass on what is for clients of others. So the traffic of a rig grows with its size, not with the square of
//! it. A rig has two hubs ([`WANTED`]): if one is lost, its clients go on with the other, and that one has a further hub started.
//!
//! Hubs also know all devices of the rig, which others do not, and keep what a newcomer needs to know: who is missed, and which orders are
//! open.
//!
//! | who | becomes a hub |
//! | --- | --- |
//! | a session with `listen` | at once, and stays one |
//! | a session that finds no router by multicast | after a second or so |
//! | a device that a hub asks, since it is alone | at once |
//! | a device that is connected, but to a network without a hub of this rig (`zenohd`) | after one to three seconds |
//! | a device that reaches two networks | as long as it reaches them, to join the two |
//!
//! [`policy`] decides that. Of more than two hubs, the others stop again.

pub(crate) mod keeper;
pub(crate) mod policy;
mod router;

use std::fmt;
use std::net::SocketAddr;

use swsync_core::name::Name;

pub(crate) use router::{Router, StartError};

/// Number of hubs that a rig wants.
pub(crate) const WANTED: usize = 2;

/// Most addresses that a hub tells: those of a host with four networks, in IPv4 and IPv6.
const MAX_ADDRESSES: usize = 8;

/// Why a hub runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HubKind {
    /// Its address was given by the user, so others may have been told to connect to it.
    Fixed,
    /// It joins two networks.
    Bridge,
    /// Some device has to.
    Auto,
}

impl HubKind {
    const ALL: [Self; 3] = [Self::Fixed, Self::Bridge, Self::Auto];
}

impl fmt::Display for HubKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed => "fixed",
            Self::Bridge => "bridge",
            Self::Auto => "auto",
        })
    }
}

/// What the liveliness token of a hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubToken {
    /// The Zenoh id of its router.
    pub id: Name,
    pub kind: HubKind,
    /// The session that runs it.
    pub instance: Name,
    /// The device or host, for a person.
    pub place: Name,
    /// Where it can be reached.
    pub addresses: Vec<SocketAddr>,
}

impl fmt::Display for HubToken {
    /// As in its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, instance, place, addresses } = self;
        write!(f, "{id}/{kind}/{instance}/{place}/")?;
        if addresses.is_empty() {
            return f.write_str("none");
        }
        let addresses: Vec<_> = addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect();
        f.write_str(&addresses.join(","))
    }
}

impl HubToken {
    /// Reads what [`Display`](fmt::Display) wrote; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let id = Name::new(parts.next()?).ok()?;
        let kind = parts.next()?;
        let kind = HubKind::ALL.into_iter().find(|known| known.to_string() == kind)?;
        let instance = Name::new(parts.next()?).ok()?;
        let place = Name::new(parts.next()?).ok()?;
        let addresses = parts.next()?.split(',').take(MAX_ADDRESSES).filter_map(|text| text.parse().ok());
        let addresses = addresses.collect();
        parts.next().is_none().then_some(Self { id, kind, instance, place, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_from_its_key() {
        let name = |text| Name::new(text).unwrap();
        for addresses in [vec![], vec!["10.0.0.1:7447".parse().unwrap(), "[fe80::1]:9".parse().unwrap()]] {
            let (instance, place) = (name("b1"), name("pi-3"));
            let token = HubToken { id: name("a0f"), kind: HubKind::Auto, instance, place, addresses };
            assert_eq!(HubToken::parse(&token.to_string()), Some(token));
        }
    }

    #[test]
    fn a_strangers_token_is_no_hub_or_a_small_one() {
        for text in ["", "a", "a/auto/b/pi", "a/king/b/pi/none", "a/auto/b/pi/none/more", "*/auto/b/pi/none"]
        {
            assert_eq!(HubToken::parse(text), None, "{text}");
        }
        let many = vec!["10.0.0.1:1"; 1_000].join(",");
        assert_eq!(HubToken::parse(&format!("a/auto/b/pi/{many}")).unwrap().addresses.len(), MAX_ADDRESSES);
        assert!(HubToken::parse("a/auto/b/pi/nonsense,1:2:3").unwrap().addresses.is_empty());
    }
}
