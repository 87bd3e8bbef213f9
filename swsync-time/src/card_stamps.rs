//! Converts the stamps of a network card's own clock (PHC) to the monotonic clock.
//!
//! A PHC runs at a rate of its own, and a program that disciplines it (ptp4l) may slew and step it. It is read beside the
//! monotonic clock whenever a stamp is converted. Two readings yield its rate. A rate that no crystal has shows a step: then
//! stamps from before the step are refused, and the kernel's stamp is used instead.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use swsync_core::time::{Clock, Span, Timestamp};
use timestamped_socket::interface::InterfaceName;
use timestamped_socket::socket::{InterfaceTimestampMode, Open, Socket, open_interface_udp};

use crate::address::socket_addr;
use crate::{Host, host_now};

/// The tag of a network card's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phc {}

impl Clock for Phc {
    const NAME: &'static str = "Phc";
}

/// Readings closer together than this yield no rate.
const BASELINE: Span = Span::from_millis(10);
/// Largest rate error of a crystal: 1000 ppm.
const FASTEST: f64 = 1e-3;
/// Largest change of rate from one packet to the next: 100 ppm. More than that is a step.
const SLEWED: f64 = 1e-4;
/// Largest error of two readings: reading a PHC takes some microseconds.
const READING: Span = Span::from_micros(20);
/// Longest span over which a rate is measured.
const LONGEST: Span = Span::from_secs(8);
/// After this many datagrams in a row without the card's stamp, only the kernel stamps.
const GIVE_UP_AFTER: u32 = 8;
/// Older stamps are not of packets that are still awaited.
const OLDEST: Span = Span::from_secs(2);

/// A reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CardReading {
    card: Timestamp<Phc>,
    host: Timestamp<Host>,
}

/// Converts the stamps of one card.
#[derive(Debug, Default)]
struct CardMap {
    /// The first and the last reading over which the rate is measured, all after the last step.
    readings: Option<(CardReading, CardReading)>,
    /// Rate of host time against the card's, minus one.
    rate: Option<f64>,
    /// The card's time of the last step, or of the first reading.
    steady: Option<Timestamp<Phc>>,
}

impl CardMap {
    /// The instant at which the card's clock read `stamp`, given the reading `now`. `None` if a step, or a card that makes no
    /// sense, leaves that open.
    fn instant_of(&mut self, stamp: Timestamp<Phc>, now: CardReading) -> Option<Timestamp<Host>> {
        self.observe(now);
        let age = now.card - stamp;
        // Until the rate is measured, the two clocks count as equally fast.
        let rate = self.rate.unwrap_or(0.0);
        let possible = (-READING..=OLDEST).contains(&age) && self.steady.is_some_and(|since| stamp >= since);
        possible.then(|| now.host - age - age.mul_f64(rate))
    }

    fn observe(&mut self, now: CardReading) {
        let Some((first, last)) = self.readings else {
            (self.readings, self.steady) = (Some((now, now)), Some(now.card));
            return;
        };
        let gained = |since: CardReading| (now.host - since.host) - (now.card - since.card);
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
pub(crate) struct Card {
    clock: OwnedFd,
    map: CardMap,
    /// The driver stamps for as long as this is open.
    _switch: Socket<SocketAddr, Open>,
}

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Card").field("clock", &self.clock).field("map", &self.map).finish_non_exhaustive()
    }
}

impl Card {
    /// The card of the network interface `name`, switched on to stamp all packets. `None`: it has no clock. Must be called in
    /// the executor's context.
    ///
    /// # Errors
    /// If this process may not read the clock or switch it on: that takes access to /dev/ptp* and `CAP_NET_ADMIN`.
    pub(crate) fn of_interface(name: &str) -> io::Result<Option<Self>> {
        let Some(device) = clock_device(Path::new("/sys/class/net"), name) else { return Ok(None) };
        let clock = File::open(Path::new("/dev").join(device))?.into();
        let interface: InterfaceName =
            name.parse().map_err(|()| io::Error::new(io::ErrorKind::InvalidInput, "no interface's name"))?;
        let switch = open_interface_udp(interface, 0, InterfaceTimestampMode::HardwareAll, None)?;
        Ok(Some(Self { clock, map: CardMap::default(), _switch: switch }))
    }

    /// The instant at which the card stamped a packet with `stamp`, which was not before `earliest`.
    pub(crate) fn instant_of(
        &mut self,
        stamp: Timestamp<Phc>,
        earliest: Timestamp<Host>,
    ) -> Option<Timestamp<Host>> {
        let now = self.read()?;
        self.map.instant_of(stamp, now).filter(|instant| *instant >= earliest - READING)
    }

    /// Reads both clocks: the fastest of three attempts.
    fn read(&self) -> Option<CardReading> {
        let attempt = |_| {
            let before = host_now();
            let time = clock_gettime_dynamic(DynamicClockId::Dynamic(self.clock.as_fd())).ok()?;
            let took = host_now() - before;
            let card = Timestamp::ZERO + Span::from_secs(time.tv_sec) + Span::from_nanos(time.tv_nsec);
            Some((took, CardReading { card, host: before + took / 2 }))
        };
        (0..3).filter_map(attempt).min_by_key(|(took, _)| *took).map(|(_, reading)| reading)
    }
}

/// The cards through which a socket sends and receives.
#[derive(Debug, Default)]
pub(crate) struct Cards {
    /// Each with the index of its interface.
    cards: Vec<(u32, Card)>,
    /// Datagrams in a row that came through a card without its stamp.
    unstamped: u32,
}

impl Cards {
    /// The cards of the interfaces with the address `local`, or of all interfaces if it is unspecified. Must be called in the
    /// executor's context.
    pub(crate) fn of(local: IpAddr) -> Self {
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
                swsync_core::log::info!(
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

    pub(crate) const fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// The card of `interface`; if that is not known, the first one.
    fn card(&mut self, interface: Option<u32>) -> Option<&mut Card> {
        match interface {
            Some(index) => self.cards.iter_mut().find(|(own, _)| *own == index).map(|(_, card)| card),
            None => self.cards.first_mut().map(|(_, card)| card),
        }
    }

    /// The instant at which a datagram with the card's `stamp` came. If a card stamps none (many stamp PTP only), no card is
    /// used any more: a stamp of the card one way and of the kernel the other way would make the delay asymmetric.
    pub(crate) fn received(
        &mut self,
        stamp: Option<Timestamp<Phc>>,
        interface: Option<u32>,
        earliest: Timestamp<Host>,
    ) -> Option<Timestamp<Host>> {
        let card = self.card(interface)?;
        let instant = stamp.and_then(|stamp| card.instant_of(stamp, earliest));
        self.unstamped = if instant.is_some() { 0 } else { self.unstamped + 1 };
        if self.unstamped >= GIVE_UP_AFTER {
            swsync_core::log::info!("the network card does not stamp received packets: the kernel does");
            self.cards.clear();
        }
        instant
    }

    /// The instant at which a datagram with the card's `stamp` left.
    pub(crate) fn sent(
        &mut self,
        stamp: Option<Timestamp<Phc>>,
        interface: Option<u32>,
        earliest: Timestamp<Host>,
    ) -> Option<Timestamp<Host>> {
        let stamp = stamp?;
        self.card(interface)?.instant_of(stamp, earliest)
    }
}

/// The name of the clock of the interface `name`, e.g. `ptp0`, from the folder `net` (/sys/class/net).
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

    /// A card's clock that runs fast by `ppm`, with one step as (instant, size).
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

        fn reading(&self, host: i64) -> CardReading {
            CardReading { card: self.at(host), host: Timestamp::from_nanos(host) }
        }
    }

    const MS: i64 = 1_000_000;

    #[test]
    fn stamps_are_converted_at_the_rate_that_the_card_has() {
        let card = Simulated { ppm: 80.0, step: (i64::MAX, 0) };
        let mut map = CardMap::default();
        for i in 0..1000 {
            let (stamped, read) = (i * 125 * MS + 60 * MS, i * 125 * MS + 90 * MS);
            let instant = map.instant_of(card.at(stamped), card.reading(read));
            if i == 0 {
                assert_eq!(instant, None, "a stamp from before the first reading is refused");
            } else {
                let error = (instant.unwrap() - Timestamp::from_nanos(stamped)).abs();
                assert!(error < Span::from_nanos(20), "{i}: {error:?}");
            }
        }
    }

    #[test]
    fn a_stamp_from_before_a_step_is_refused() {
        let card = Simulated { ppm: -5.0, step: (1_000 * MS, -300 * MS) };
        let mut map = CardMap::default();
        for host in (0..990).step_by(10) {
            map.observe(card.reading(host * MS));
        }
        assert_eq!(map.instant_of(card.at(995 * MS), card.reading(1_005 * MS)), None);
        let instant = map.instant_of(card.at(1_010 * MS), card.reading(1_020 * MS)).unwrap();
        assert!((instant - Timestamp::from_nanos(1_010 * MS)).abs() < Span::from_nanos(200), "{instant:?}");
    }

    #[test]
    fn stamps_of_the_future_and_of_long_ago_are_refused() {
        let card = Simulated { ppm: 0.0, step: (i64::MAX, 0) };
        let mut map = CardMap::default();
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
        let _context = crate::executor::runtime().unwrap().enter();
        assert!(Card::of_interface("lo").unwrap().is_none());
    }

    proptest! {
        /// Whatever the card does, a stamp is right to 2 us, or it is refused.
        #[test]
        fn stamps_are_right_or_refused(
            ppm in -200.0_f64..200.0,
            gaps in proptest::collection::vec(MS..400 * MS, 3..40),
            step in (0_i64..4_000 * MS, -5_000 * MS..5_000 * MS),
        ) {
            // A step below the error of the readings and of the rate goes unnoticed.
            prop_assume!(step.1.abs() > MS);
            let card = Simulated { ppm, step };
            let mut map = CardMap::default();
            let mut now = 0;
            map.observe(card.reading(now));
            for gap in gaps {
                let stamped = now + gap / 2;
                now += gap;
                if let Some(instant) = map.instant_of(card.at(stamped), card.reading(now)) {
                    let error = (instant - Timestamp::from_nanos(stamped)).abs();
                    // Until the rate is known, the error may be 200 ppm of half the gap.
                    prop_assert!(error <= Span::from_nanos(gap / 2 * 200 / 1_000_000 + 2_000), "{error:?}");
                }
            }
        }
    }
}
