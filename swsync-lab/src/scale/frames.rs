//! What a frame on the bridge is for.

use swsync_time::DEFAULT_PORT;

/// The first bytes of every MAC address in the lab. Two bytes with the index of the namespace follow.
const OURS: [u8; 4] = [0x02, b'S', b'W', 0];
/// Most bytes of data in one TCP segment on Ethernet, with timestamps. The bridge carries longer ones, which a network card
/// would split.
const SEGMENT: usize = 1_448;
/// So many bytes of a frame suffice to judge it.
pub const HEAD: usize = 14 + 60 + 20;

/// The MAC address of namespace `index`, as `ip` writes it.
pub fn mac(index: u16) -> String {
    let ([a, b, c, d], [high, low]) = (OURS, index.to_be_bytes());
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{high:02x}:{low:02x}")
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The control plane: all TCP, and UDP but for time. That is Zenoh's connections, and its scouting.
    Control,
    /// The time service: UDP from or to its port.
    Time,
    /// The network's own: ARP, IGMP and the like.
    Other,
}

/// A frame, as the bridge sees it: once, however many receive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// Packets that it is on a network: more than one if it has to be split.
    pub packets: u64,
    /// A TCP segment that does nothing but acknowledge others.
    pub acknowledges: bool,
    /// The namespace that sent it.
    pub from: Option<usize>,
    /// The namespace that it is for; `None`: all, or none of the lab's.
    pub to: Option<usize>,
}

impl Frame {
    /// The frame that begins with `head`. `None`: it is too short to be one.
    pub fn of(head: &[u8]) -> Option<Self> {
        let (to, from) = (node(head.get(..6)?), node(head.get(6..12)?));
        let (kind, packets, acknowledges) = match head.get(12..14)? {
            [0x08, 0x00] => ipv4(&head[14..]),
            _ => (Kind::Other, 1, false),
        };
        Some(Self { kind, packets, acknowledges, from, to })
    }
}

fn node(mac: &[u8]) -> Option<usize> {
    let index = mac.strip_prefix(&OURS)?;
    Some(u16::from_be_bytes([index[0], index[1]]).into())
}

fn ipv4(packet: &[u8]) -> (Kind, u64, bool) {
    let other = (Kind::Other, 1, false);
    let (Some(first), Some(length), Some(protocol)) = (packet.first(), word(packet, 2), packet.get(9)) else {
        return other;
    };
    let header = usize::from(first & 0xf) * 4;
    match protocol {
        6 => {
            let tcp = packet.get(header + 12).map_or(0, |offset| usize::from(offset >> 4) * 4);
            let data = usize::from(length).saturating_sub(header + tcp);
            // Neither FIN, SYN nor RST.
            let acknowledges = data == 0 && packet.get(header + 13).is_some_and(|flags| flags & 0b111 == 0);
            (Kind::Control, u64::try_from(data.div_ceil(SEGMENT).max(1)).unwrap_or(u64::MAX), acknowledges)
        }
        17 => {
            let is_time = [word(packet, header), word(packet, header + 2)].contains(&Some(DEFAULT_PORT));
            (if is_time { Kind::Time } else { Kind::Control }, 1, false)
        }
        _ => other,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame from namespace 3 to namespace 258.
    fn frame(protocol: u8, ports: [u16; 2], data: u16) -> Vec<u8> {
        let mut frame = vec![2, b'S', b'W', 0, 1, 2, 2, b'S', b'W', 0, 0, 3, 8, 0];
        frame.extend([0x45, 0]);
        frame.extend((20 + 20 + data).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 87, 0, 4, 10, 87, 1, 3]);
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
        frame
    }

    #[test]
    fn tcp_is_the_control_plane_and_long_segments_are_split() {
        let of = |data| Frame::of(&frame(6, [40_000, 7447], data)).unwrap();
        let expected =
            Frame { kind: Kind::Control, packets: 1, acknowledges: false, from: Some(3), to: Some(258) };
        assert_eq!([of(1), of(1_448)], [expected, expected]);
        assert_eq!(of(0), Frame { acknowledges: true, ..expected });
        let mut syn = frame(6, [40_000, 7447], 0);
        syn[14 + 20 + 13] = 0b10;
        assert_eq!(Frame::of(&syn), Some(expected));
        assert_eq!(of(1_449).packets, 2);
    }

    #[test]
    fn udp_is_time_by_its_port() {
        let kind = |ports| Frame::of(&frame(17, ports, 48)).unwrap().kind;
        assert_eq!(kind([40_000, DEFAULT_PORT]), Kind::Time);
        assert_eq!(kind([DEFAULT_PORT, 40_000]), Kind::Time);
        assert_eq!(kind([40_000, 7446]), Kind::Control);
    }

    #[test]
    fn all_else_is_the_networks_own() {
        let mut arp = frame(6, [1, 2], 0);
        arp[13] = 6;
        assert_eq!(Frame::of(&arp).unwrap().kind, Kind::Other);
        assert_eq!(Frame::of(&frame(2, [1, 2], 0)).unwrap().kind, Kind::Other); // IGMP
        let multicast = [&[1, 0, 0x5e, 0, 0, 0xe0], &frame(17, [1, 2], 0)[6..]].concat();
        assert_eq!(Frame::of(&multicast).unwrap().to, None);
        for length in 0..34 {
            let cut = &frame(6, [1, 2], 0)[..length];
            assert!(Frame::of(cut).is_none_or(|frame| frame.packets == 1), "{length}");
        }
        assert_eq!(mac(258), "02:53:57:00:01:02");
    }
}
