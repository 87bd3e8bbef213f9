//! Stamps that the network card makes by its own clock (PHC), on the monotonic clock.
//!
//! A PHC runs at a rate of its own, and whoever disciplines it (ptp4l) may slew and step it. It is read
//! beside the monotonic clock whenever a stamp is converted; between two readings its rate is known, and a
//! rate that no crystal has shows a step: stamps from before it are of no use, and the packet falls
//! back on the kernel's stamp.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use swsync_core::time::{Clock, Span, Timestamp};
use swsync_sim::True;
use timestamped_socket::interface::InterfaceName;
use timestamped_socket::socket::{InterfaceTimestampMode, Open, Socket, open_interface_udp};

use crate::clock::true_now;
use crate::net::socket_addr;

/// The time of a network card's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phc {}

impl Clock for Phc {
    const NAME: &'static str = "Phc";
}

/// Readings closer together than this tell no rate.
const BASELINE: Span = Span::from_millis(10);
/// No crystal is off by more: 1000 ppm.
const FASTEST: f64 = 1e-3;
/// Nobody changes its rate by more from one packet to the next: 100 ppm. What does is a step.
const SLEWED: f64 = 1e-4;
/// What two readings are wrong by, at most: it takes a PHC some microseconds to be read.
const READING: Span = Span::from_micros(20);
/// A rate is measured over no more than this.
const LONGEST: Span = Span::from_secs(8);
/// Datagrams in a row without a card's stamp that are no accident.
const NO_ACCIDENT: u32 = 8;
/// Older stamps are not of packets that are still waited for.
const OLDEST: Span = Span::from_secs(2);

/// A reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    card: Timestamp<Phc>,
    host: Timestamp<True>,
}

/// Converts the stamps of one card.
#[derive(Debug, Default)]
struct Map {
    /// The first and the last reading of those that the rate is measured over; none before a step.
    readings: Option<(Reading, Reading)>,
    /// Host time that passes in a unit of the card's, less one.
    rate: Option<f64>,
    /// The card's time since when no step was seen.
    steady: Option<Timestamp<Phc>>,
}

impl Map {
    /// When the card's clock read `stamp`, given that it reads `now` now; `None` where a step, or a card
    /// that makes no sense, leaves that open.
    fn instant_of(&mut self, stamp: Timestamp<Phc>, now: Reading) -> Option<Timestamp<True>> {
        self.observe(now);
        let age = now.card - stamp;
        // Two crystals that nobody compared yet are as good as alike.
        let rate = self.rate.unwrap_or(0.0);
        let possible = (-READING..=OLDEST).contains(&age) && self.steady.is_some_and(|since| stamp >= since);
        possible.then(|| now.host - age - age.mul_f64(rate))
    }

    fn observe(&mut self, now: Reading) {
        let Some((first, last)) = self.readings else {
            (self.readings, self.steady) = (Some((now, now)), Some(now.card));
            return;
        };
        let gained = |since: Reading| (now.host - since.host) - (now.card - since.card);
        let (host, card) = (now.host - last.host, now.card - last.card);
        let expected = card.as_nanos_f64() * self.rate.unwrap_or(0.0);
        let possible = if self.rate.is_some() { SLEWED } else { FASTEST } * host.as_nanos_f64();
        let odd = (gained(last).as_nanos_f64() - expected).abs();
        if host.is_negative() || odd > READING.as_nanos_f64() + possible {
            *self = Self { readings: Some((now, now)), rate: None, steady: Some(now.card) };
            return;
        }
        self.readings = Some((first, now));
        let measured = now.card - first.card;
        if measured >= BASELINE {
            self.rate = Some(gained(first).as_nanos_f64() / measured.as_nanos_f64());
        }
        if measured > LONGEST {
            self.readings = Some((last, now)); // the rate may have changed since
        }
    }
}

/// A network card that stamps packets.
pub(super) struct Card {
    clock: OwnedFd,
    map: Map,
    /// Through it the driver was told to stamp.
    _switch: Socket<SocketAddr, Open>,
}

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Card").field("clock", &self.clock).field("map", &self.map).finish_non_exhaustive()
    }
}

impl Card {
    /// The card of the network interface `name`, told to stamp all packets; `None` where it has no clock.
    /// Must be called in the executor's context.
    ///
    /// # Errors
    /// Where there is one, but this process may not read it or switch it on: that takes access to
    /// /dev/ptp* and `CAP_NET_ADMIN`.
    pub(super) fn of_interface(name: &str) -> io::Result<Option<Self>> {
        let Some(device) = clock_device(Path::new("/sys/class/net"), name) else { return Ok(None) };
        let clock = File::open(Path::new("/dev").join(device))?.into();
        let interface: InterfaceName =
            name.parse().map_err(|()| io::Error::new(io::ErrorKind::InvalidInput, "no interface's name"))?;
        let switch = open_interface_udp(interface, 0, InterfaceTimestampMode::HardwareAll, None)?;
        Ok(Some(Self { clock, map: Map::default(), _switch: switch }))
    }

    /// When the card stamped a packet with `stamp`, which was not before `earliest`.
    pub(super) fn instant_of(
        &mut self,
        stamp: Timestamp<Phc>,
        earliest: Timestamp<True>,
    ) -> Option<Timestamp<True>> {
        let now = self.read()?;
        self.map.instant_of(stamp, now).filter(|instant| *instant >= earliest - READING)
    }

    /// Reads both clocks: of three attempts the one that took least.
    fn read(&self) -> Option<Reading> {
        let attempt = |_| {
            let before = true_now();
            let time = clock_gettime_dynamic(DynamicClockId::Dynamic(self.clock.as_fd())).ok()?;
            let took = true_now() - before;
            let card = Timestamp::ZERO + Span::from_secs(time.tv_sec) + Span::from_nanos(time.tv_nsec);
            Some((took, Reading { card, host: before + took / 2 }))
        };
        (0..3).filter_map(attempt).min_by_key(|(took, _)| *took).map(|(_, reading)| reading)
    }
}

/// The cards by way of which a socket sends and receives.
#[derive(Debug, Default)]
pub(super) struct Cards {
    /// With the indices of their interfaces.
    cards: Vec<(u32, Card)>,
    /// Datagrams in a row that came by way of a card without its stamp.
    unstamped: u32,
}

impl Cards {
    /// The cards of the interfaces with the address `local`, or of all where it is unspecified. Must be
    /// called in the executor's context.
    pub(super) fn of(local: IpAddr) -> Self {
        let mut names: Vec<String> = nix::ifaddrs::getifaddrs()
            .into_iter()
            .flatten()
            .filter(|interface| {
                let address = interface.address.as_ref().and_then(socket_addr).map(|address| address.ip());
                address.is_some_and(|ip| local.is_unspecified() || ip == local)
            })
            .map(|interface| interface.interface_name)
            .collect();
        names.sort();
        names.dedup();
        let card = |name: &String| match Card::of_interface(name) {
            Ok(card) => Some((nix::net::if_::if_nametoindex(name.as_str()).ok()?, card?)),
            Err(error) => {
                tracing::info!(
                    interface = name,
                    %error,
                    "this network card could stamp packets itself, but this process may not use that: \
                     access to /dev/ptp* and CAP_NET_ADMIN would allow it"
                );
                None
            }
        };
        Self { cards: names.iter().filter_map(card).collect(), unstamped: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// The card of `interface`; where that is not known, the only one.
    fn card(&mut self, interface: Option<u32>) -> Option<&mut Card> {
        match interface {
            Some(index) => self.cards.iter_mut().find(|(own, _)| *own == index).map(|(_, card)| card),
            None => self.cards.first_mut().map(|(_, card)| card),
        }
    }

    /// When a datagram with the card's `stamp` came. Where a card stamps none
    /// (many can do so for PTP only), none is asked any more: a stamp of the card on one way and of the kernel on the other would be uneven.
    pub(super) fn received(
        &mut self,
        stamp: Option<Timestamp<Phc>>,
        interface: Option<u32>,
        earliest: Timestamp<True>,
    ) -> Option<Timestamp<True>> {
        let card = self.card(interface)?;
        let instant = stamp.and_then(|stamp| card.instant_of(stamp, earliest));
        self.unstamped = if instant.is_some() { 0 } else { self.unstamped + 1 };
        if self.unstamped >= NO_ACCIDENT {
            tracing::info!("the network card does not stamp what comes: the kernel does");
            self.cards.clear();
        }
        instant
    }

    /// When a datagram with the card's `stamp` left.
    pub(super) fn sent(
        &mut self,
        stamp: Option<Timestamp<Phc>>,
        interface: Option<u32>,
        earliest: Timestamp<True>,
    ) -> Option<Timestamp<True>> {
        let stamp = stamp?;
        self.card(interface)?.instant_of(stamp, earliest)
    }
}

/// The clock of the interface `name`, e.g. `ptp0`, as the kernel lists it under `net`.
fn clock_device(net: &Path, name: &str) -> Option<String> {
    let mut clocks: Vec<_> = net
        .join(name)
        .join("device/ptp")
        .read_dir()
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    clocks.sort();
    clocks.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A card's clock that runs fast by `ppm`, and is stepped once.
    struct Simulated {
        ppm: f64,
        step: (i64, i64),
    }

    impl Simulated {
        fn at(&self, host: i64) -> Timestamp<Phc> {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small")]
            let gained = (host as f64 * self.ppm * 1e-6) as i64;
            let stepped = if host >= self.step.0 { self.step.1 } else { 0 };
            Timestamp::from_nanos(37_000_000_000 + host + gained + stepped)
        }

        fn reading(&self, host: i64) -> Reading {
            Reading { card: self.at(host), host: Timestamp::from_nanos(host) }
        }
    }

    const MS: i64 = 1_000_000;

    #[test]
    fn stamps_are_converted_at_the_rate_that_the_card_has() {
        let card = Simulated { ppm: 80.0, step: (i64::MAX, 0) };
        let mut map = Map::default();
        for i in 0..1000 {
            let (stamped, read) = (i * 125 * MS + 60 * MS, i * 125 * MS + 90 * MS);
            let instant = map.instant_of(card.at(stamped), card.reading(read));
            if i == 0 {
                assert_eq!(instant, None, "what was stamped before the first reading is not known");
            } else {
                let error = (instant.unwrap() - Timestamp::from_nanos(stamped)).abs();
                assert!(error < Span::from_nanos(20), "{i}: {error:?}");
            }
        }
    }

    #[test]
    fn a_stamp_from_before_a_step_is_none() {
        let card = Simulated { ppm: -5.0, step: (1_000 * MS, -300 * MS) };
        let mut map = Map::default();
        for host in (0..990).step_by(10) {
            map.observe(card.reading(host * MS));
        }
        assert_eq!(map.instant_of(card.at(995 * MS), card.reading(1_005 * MS)), None);
        let instant = map.instant_of(card.at(1_010 * MS), card.reading(1_020 * MS)).unwrap();
        assert!((instant - Timestamp::from_nanos(1_010 * MS)).abs() < Span::from_nanos(200), "{instant:?}");
    }

    #[test]
    fn stamps_of_the_future_and_of_long_ago_are_none() {
        let card = Simulated { ppm: 0.0, step: (i64::MAX, 0) };
        let mut map = Map::default();
        map.observe(card.reading(0));
        assert_eq!(map.instant_of(card.at(5_000 * MS), card.reading(100 * MS)), None);
        assert_eq!(map.instant_of(card.at(1_000 * MS), card.reading(9_000 * MS)), None);
    }

    #[test]
    fn the_kernel_lists_an_interfaces_clock() {
        let net = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(net.path().join("eth0/device/ptp/ptp3")).unwrap();
        std::fs::create_dir_all(net.path().join("wlan0/device")).unwrap();
        assert_eq!(clock_device(net.path(), "eth0").as_deref(), Some("ptp3"));
        assert_eq!(clock_device(net.path(), "wlan0"), None);
        assert_eq!(clock_device(net.path(), "lo"), None);
    }

    #[test]
    fn the_loopback_has_no_card() {
        let _context = crate::time::runtime().unwrap().enter();
        assert!(Card::of_interface("lo").unwrap().is_none());
    }

    proptest! {
        /// Whatever the card does: a stamp is right to 2 us, or it is none.
        #[test]
        fn stamps_are_right_or_none(
            ppm in -200.0_f64..200.0,
            gaps in proptest::collection::vec(MS..400 * MS, 3..40),
            step in (0_i64..4_000 * MS, -5_000 * MS..5_000 * MS),
        ) {
            // A step of less than what readings are good for, and the rate in the gap, is not seen.
            prop_assume!(step.1.abs() > MS);
            let card = Simulated { ppm, step };
            let mut map = Map::default();
            let mut now = 0;
            map.observe(card.reading(now));
            for gap in gaps {
                let stamped = now + gap / 2;
                now += gap;
                if let Some(instant) = map.instant_of(card.at(stamped), card.reading(now)) {
                    let error = (instant - Timestamp::from_nanos(stamped)).abs();
                    // Until the rate is known it may be 200 ppm of the gap's half.
                    prop_assert!(error <= Span::from_nanos(gap / 2 * 200 / 1_000_000 + 2_000), "{error:?}");
                }
            }
        }
    }
}
