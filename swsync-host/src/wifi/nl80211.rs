//! nl80211: what the kernel knows of WiFi interfaces. Numbers are those of `linux/nl80211.h` and `linux/genetlink.h`.

use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::Buffer;
use neli::utils::Groups;
use neli::{FromBytesWithInput as _, ToBytes};
use swsync_core::status::WifiStatus;

/// The family of families, GENL_ID_CTRL.
const CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const CMD_GET_INTERFACE: u8 = 5;
const CMD_GET_STATION: u8 = 17;
const CMD_GET_POWER_SAVE: u8 = 62;
const ATTR_IFINDEX: u16 = 3;
const ATTR_IFNAME: u16 = 4;
const ATTR_IFTYPE: u16 = 5;
const ATTR_STA_INFO: u16 = 21;
const ATTR_PS_STATE: u16 = 93;
const STA_INFO_SIGNAL: u16 = 7;
const STA_INFO_TX_BITRATE: u16 = 8;
const STA_INFO_SIGNAL_AVG: u16 = 13;
const RATE_INFO_BITRATE: u16 = 1;
const RATE_INFO_BITRATE32: u16 = 5;

/// NL80211_IFTYPE_STATION: a client of an access point.
const STATION: u32 = 2;
/// The kernel's unit of bitrates, in bits per second.
const BITRATE_UNIT: u64 = 100_000;

/// A message of a family of generic netlink.
type Message = Genlmsghdr<u8, u16>;

/// Interfaces that are connected to an access point. `None`: nl80211 is not there.
pub fn links() -> Option<Vec<WifiStatus>> {
    let mut netlink = Netlink::open()?;
    let family = netlink.family("nl80211")?;
    let interfaces = netlink.ask(family, CMD_GET_INTERFACE, NlmF::DUMP, None)?;
    let links = interfaces.iter().filter_map(Interface::of).filter_map(|interface| {
        let index = Some((ATTR_IFINDEX, Value::Number(interface.index)));
        // A station that is not connected knows no access point.
        let stations = netlink.ask(family, CMD_GET_STATION, NlmF::DUMP, index)?;
        let link = Link::of(stations.first()?);
        // Its absence says nothing: not all drivers have it.
        let index = Some((ATTR_IFINDEX, Value::Number(interface.index)));
        let power = netlink.ask(family, CMD_GET_POWER_SAVE, NlmF::ACK, index);
        Some(WifiStatus {
            interface: interface.name,
            signal_dbm: link.signal_dbm,
            tx_bitrate_bps: link.tx_bitrate_bps,
            power_save: power.and_then(|power| power_save(power.first()?)),
        })
    });
    Some(links.collect())
}

/// What a request names.
enum Value<'a> {
    Number(u32),
    Text(&'a str),
}

struct Netlink {
    socket: NlSocketHandle,
    sequence: u32,
}

impl Netlink {
    fn open() -> Option<Self> {
        let socket = NlSocketHandle::connect(NlFamily::Generic, None, Groups::empty()).ok()?;
        Some(Self { socket, sequence: 0 })
    }

    /// The number of a family.
    fn family(&mut self, name: &str) -> Option<u16> {
        let name = Some((CTRL_ATTR_FAMILY_NAME, Value::Text(name)));
        let messages = self.ask(CONTROL, CTRL_CMD_GETFAMILY, NlmF::ACK, name)?;
        messages.first()?.attrs().get_attr_handle().get_attr_payload_as(CTRL_ATTR_FAMILY_ID).ok()
    }

    /// Sends a request and reads the whole answer. `None`: it was refused, or is not to be had.
    ///
    /// With `flags` the kernel marks the end: by its acknowledgement, or as that of a dump.
    fn ask(
        &mut self,
        family: u16,
        command: u8,
        flags: NlmF,
        about: Option<(u16, Value<'_>)>,
    ) -> Option<Vec<Message>> {
        self.sequence += 1;
        let request = GenlmsghdrBuilder::default()
            .cmd(command)
            .version(1)
            .attrs(about.map(|(kind, value)| attribute(kind, &value)).into_iter().collect::<Option<_>>()?)
            .build()
            .ok()?;
        let request = NlmsghdrBuilder::default()
            .nl_type(family)
            .nl_flags(NlmF::REQUEST | flags)
            .nl_seq(self.sequence)
            .nl_payload(NlPayload::<u16, Message>::Payload(request))
            .build()
            .ok()?;
        self.socket.send(&request).ok()?;
        let mut answers = Vec::new();
        loop {
            let (messages, _) = self.socket.recv::<u16, Buffer>().ok()?;
            for message in messages {
                let message = message.ok()?;
                if *message.nl_seq() != self.sequence {
                    continue;
                }
                match message.nl_payload() {
                    NlPayload::Payload(bytes) => answers.push(parse(bytes.as_ref())?),
                    NlPayload::Ack(_) | NlPayload::DumpExtAck(_) | NlPayload::Empty => return Some(answers),
                    NlPayload::Err(_) => return None,
                }
            }
        }
    }
}

fn attribute(kind: u16, value: &Value<'_>) -> Option<neli::genl::Nlattr<u16, Buffer>> {
    fn build<P: neli::Size + ToBytes>(kind: u16, payload: P) -> Option<neli::genl::Nlattr<u16, Buffer>> {
        let kind = AttrTypeBuilder::default().nla_type(kind).build().ok()?;
        NlattrBuilder::default().nla_type(kind).nla_payload(payload).build().ok()
    }
    match *value {
        Value::Number(number) => build(kind, number),
        Value::Text(text) => build(kind, text),
    }
}

fn parse(bytes: &[u8]) -> Option<Message> {
    Message::from_bytes_with_input(&mut std::io::Cursor::new(bytes), bytes.len()).ok()
}

#[derive(Debug, PartialEq)]
struct Interface {
    index: u32,
    name: String,
}

impl Interface {
    /// The interface that a message tells of, if it is one of a client.
    fn of(message: &Message) -> Option<Self> {
        let attributes = message.attrs().get_attr_handle();
        let kind: u32 = attributes.get_attr_payload_as(ATTR_IFTYPE).ok()?;
        (kind == STATION).then_some(())?;
        Some(Self {
            index: attributes.get_attr_payload_as(ATTR_IFINDEX).ok()?,
            name: attributes.get_attr_payload_as_with_len(ATTR_IFNAME).ok()?,
        })
    }
}

#[derive(Debug, PartialEq, Default)]
struct Link {
    signal_dbm: Option<i32>,
    tx_bitrate_bps: Option<u64>,
}

impl Link {
    /// What a message tells of the access point.
    fn of(message: &Message) -> Self {
        let attributes = message.attrs().get_attr_handle();
        let Ok(station) = attributes.get_nested_attributes::<u16>(ATTR_STA_INFO) else {
            return Self::default();
        };
        let signal = |kind| Some(i32::from(station.get_attr_payload_as::<u8>(kind).ok()?.cast_signed()));
        let bitrate = || {
            let rate = station.get_nested_attributes::<u16>(STA_INFO_TX_BITRATE).ok()?;
            let wide = rate.get_attr_payload_as::<u32>(RATE_INFO_BITRATE32).ok().map(u64::from);
            // 16 bits, of older kernels, and where it fits.
            wide.or_else(|| rate.get_attr_payload_as::<u16>(RATE_INFO_BITRATE).ok().map(u64::from))
        };
        Self {
            // Single packets vary by several dB.
            signal_dbm: signal(STA_INFO_SIGNAL_AVG).or_else(|| signal(STA_INFO_SIGNAL)),
            tx_bitrate_bps: bitrate().map(|rate| rate * BITRATE_UNIT),
        }
    }
}

fn power_save(message: &Message) -> Option<bool> {
    let state: u32 = message.attrs().get_attr_handle().get_attr_payload_as(ATTR_PS_STATE).ok()?;
    Some(state != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute as the kernel writes it: length, type, payload, padding to 4 bytes (`linux/netlink.h`).
    fn tlv(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + payload.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A message of this command with these attributes.
    fn message(command: u8, attributes: &[Vec<u8>]) -> Message {
        parse(&[&[command, 1, 0, 0][..], &attributes.concat()].concat()).unwrap()
    }

    fn number(number: u32) -> [u8; 4] {
        number.to_ne_bytes()
    }

    #[test]
    fn only_clients_of_an_access_point_count() {
        let of = |kind| {
            let attributes = [
                tlv(ATTR_IFINDEX, &number(3)),
                tlv(ATTR_IFNAME, b"wlan0\0"),
                tlv(ATTR_IFTYPE, &number(kind)),
            ];
            Interface::of(&message(7, &attributes))
        };
        assert_eq!(of(2), Some(Interface { index: 3, name: "wlan0".into() }));
        assert_eq!(of(3), None, "an access point itself");
    }

    #[test]
    fn signal_and_bitrate_are_nested() {
        let of = |station: &[Vec<u8>]| Link::of(&message(19, &[tlv(ATTR_STA_INFO, &station.concat())]));
        let rate = [tlv(RATE_INFO_BITRATE, &650_u16.to_ne_bytes()), tlv(2, &[7])].concat();
        let link = of(&[
            tlv(STA_INFO_SIGNAL, &[(-61_i8).cast_unsigned()]),
            tlv(STA_INFO_SIGNAL_AVG, &[(-58_i8).cast_unsigned()]),
            tlv(STA_INFO_TX_BITRATE, &rate),
        ]);
        assert_eq!(link, Link { signal_dbm: Some(-58), tx_bitrate_bps: Some(65_000_000) });
        // Bitrates above 6.5535 Gbit/s have 32 bits only; the average may be missing.
        let wide = tlv(RATE_INFO_BITRATE32, &number(86_480));
        let link = of(&[tlv(STA_INFO_SIGNAL, &[200]), tlv(STA_INFO_TX_BITRATE, &wide)]);
        assert_eq!(link, Link { signal_dbm: Some(-56), tx_bitrate_bps: Some(8_648_000_000) });
        assert_eq!(of(&[]), Link::default());
        assert_eq!(Link::of(&message(19, &[])), Link::default());
    }

    #[test]
    fn power_save_is_on_or_off_or_not_known() {
        assert_eq!(power_save(&message(62, &[tlv(ATTR_PS_STATE, &number(1))])), Some(true));
        assert_eq!(power_save(&message(62, &[tlv(ATTR_PS_STATE, &number(0))])), Some(false));
        assert_eq!(power_save(&message(62, &[])), None);
    }

    #[test]
    fn the_kernel_answers_and_says_what_it_does_not_have() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.family("nlctrl"), Some(CONTROL), "its own family is always there");
        assert_eq!(netlink.family("no-such-family"), None);
        // Whichever host this runs on, it says something, or that nl80211 is not there.
        let links = links();
        assert_eq!(links.is_some(), netlink.family("nl80211").is_some(), "{links:?}");
        // A dump has an end.
        assert!(!netlink.ask(CONTROL, CTRL_CMD_GETFAMILY, NlmF::DUMP, None).unwrap().is_empty());
    }
}
