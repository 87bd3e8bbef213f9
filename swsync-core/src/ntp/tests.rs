use proptest::prelude::*;

use super::*;
use crate::time::{Rig, Span, Timestamp};

fn packet() -> Packet {
    Packet {
        mode: MODE_SERVER,
        stratum: 1,
        poll: -3,
        precision: -25,
        root_delay: NtpShort(3),
        root_dispersion: NtpShort(5),
        reference_id: *b"SWSY",
        reference: NtpTimestamp(9),
        origin: NtpTimestamp(0x0123_4567_89ab_cdef),
        receive: NtpTimestamp::from_rig(Timestamp::from_nanos(1_800_000_000_123_456_789)),
        transmit: NtpTimestamp(u64::MAX),
        rig: Some(RigField {
            rig: rig_id("swsync"),
            timescale: 7,
            leader: 8,
            path: ServerPath::new(&[11, 12]).unwrap(),
            uncertainty_ns: 1_000,
            unsettled: true,
            silence: Span::from_millis(1_234),
            began: Timestamp::from_nanos(1_700_000_000_000_000_000),
            traceable: true,
            port: 11_123,
            least_poll_ms: 250,
            rate_uncertainty_ppb: 1_500,
        }),
        ..Packet::default()
    }
}

fn key() -> Key {
    Key::new(7, &[3; 16]).unwrap()
}

#[test]
fn the_layout_follows_rfc_5905() {
    let bytes = encode(&packet());
    assert_eq!(bytes.len(), HEADER_LEN + RIG_FIELD_LEN);
    assert_eq!(bytes[0], 0b00_100_100); // leap 0, version 4, mode 4
    assert_eq!(&bytes[12..16], b"SWSY");
    assert_eq!(bytes[24..32], 0x0123_4567_89ab_cdef_u64.to_be_bytes());
    assert_eq!(bytes[48..52], [0xF5, 0x74, 0, 116]);
    assert_eq!(bytes[52..60], rig_id("swsync").to_be_bytes());
    assert_eq!(bytes[76..84], 1_700_000_000_000_000_000_i64.to_be_bytes());
    assert_eq!(bytes[84..92], [0, 0, 3, 232, 2, 3, 4, 210]); // 1000 ns, two hops, both flags, 1234 ms
    assert_eq!(bytes[92..96], [0x2b, 0x73, 0, 250]);
    assert_eq!(bytes[96..100], 1_500_u32.to_be_bytes()); // ns/s
    assert_eq!(bytes[100..108], 11_u64.to_be_bytes());
}

#[test]
fn a_request_is_as_long_as_its_response() {
    let request = encode(&Packet { rig: Some(RigField::default()), ..Packet::default() });
    assert_eq!(request.len(), encode(&packet()).len());
    assert_eq!(encode(&packet()).sealed(&key()).len(), MAX_LEN);
}

#[test]
fn the_unix_epoch_is_converted() {
    assert_eq!(NtpTimestamp::from_rig(Timestamp::ZERO).0 >> 32, 2_208_988_800);
    let half = NtpTimestamp::from_rig(Timestamp::from_nanos(500_000_000));
    assert_eq!(half.0 & 0xffff_ffff, 1 << 31);
}

#[test]
fn the_era_after_2036_is_found_from_the_pivot() {
    let at = Timestamp::<Rig>::from_nanos(2_100_000_000_000_000_001); // in 2036, era 1
    let pivot = at + Span::from_secs(86_400 * 300);
    assert_eq!(NtpTimestamp::from_rig(at).to_rig(pivot), at);
}

#[test]
fn short_spans_are_rounded_up_and_saturate() {
    assert_eq!(NtpShort::from_span(Span::from_nanos(1)), NtpShort(1));
    assert_eq!(NtpShort::from_span(Span::from_secs(1)), NtpShort(1 << 16));
    assert_eq!(NtpShort::from_span(Span::MAX), NtpShort(u32::MAX));
    assert_eq!(NtpShort::from_span(-Span::from_secs(1)), NtpShort(0));
    assert_eq!(NtpShort(1 << 15).to_span(), Span::from_millis(500));
}

#[test]
fn invalid_bytes_are_refused() {
    assert_eq!(decode(&[0x23; 47]), Err(PacketError::Truncated { got: 47 }));
    assert_eq!(decode(&[0x2b; 48]), Err(PacketError::Version(5)));
    let mut bytes = encode(&packet()).to_vec();
    bytes[51] = 200;
    assert_eq!(decode(&bytes), Err(PacketError::Extension { at: 48, length: 200 }));
    bytes[51] = 0;
    assert_eq!(decode(&bytes), Err(PacketError::Extension { at: 48, length: 0 }));
    bytes.truncate(53);
    assert_eq!(decode(&bytes), Err(PacketError::Trailing { at: 48, length: 5 }));
}

#[test]
fn version_3_has_no_extension_fields() {
    let old = Packet { version: 3, rig: None, ..packet() };
    assert_eq!(decode(&encode(&old)).unwrap().0, old);
    let with_field = encode(&Packet { version: 3, ..packet() });
    assert_eq!(decode(&with_field), Err(PacketError::Trailing { at: 48, length: RIG_FIELD_LEN }));
}

#[test]
fn a_mac_is_not_an_extension_field() {
    let plain = Packet { rig: None, ..packet() };
    for length in [20, 24] {
        let mut bytes = encode(&plain).to_vec();
        bytes.extend([0, 0, 0, 9]);
        bytes.resize(HEADER_LEN + length, 0xaa);
        let (decoded, trailer) = decode(&bytes).unwrap();
        assert_eq!(decoded, plain);
        assert!(matches!(trailer, Trailer::Mac(mac) if mac.key == 9), "{trailer:?}");
    }
    let nak = encode(&plain).with_crypto_nak();
    assert_eq!(decode(&nak), Ok((plain, Trailer::CryptoNak)));
}

/// A field of another type and `length`, all zeros.
fn unknown(length: u16) -> Vec<u8> {
    let mut field = vec![0; usize::from(length)];
    field[..2].copy_from_slice(&0x0104_u16.to_be_bytes());
    field[2..4].copy_from_slice(&length.to_be_bytes());
    field
}

#[test]
fn unknown_fields_are_skipped() {
    let ours = encode(&packet());
    let (header, field) = ours.split_at(HEADER_LEN);
    for bytes in [
        [header, &unknown(16), field].concat(),
        [header, field, &unknown(28)].concat(),
        [header, &unknown(40), field, &unknown(28)].concat(),
    ] {
        assert_eq!(decode(&bytes), Ok((packet(), Trailer::Nothing)));
    }
    let with_mac = [header, &unknown(16), field, &[0, 0, 0, 7], &[1; 16]].concat();
    assert!(matches!(decode(&with_mac), Ok((_, Trailer::Mac(mac))) if mac.key == 7));
}

#[test]
fn our_field_of_another_version_is_skipped() {
    let mut bytes = encode(&packet()).to_vec();
    bytes[88] = 9; // hops
    assert_eq!(decode(&bytes).unwrap().0.rig, None);
}

#[test]
fn a_path_ends_at_eight_hops() {
    let mut path = ServerPath::default();
    for hop in 0..8 {
        path = path.then(hop).unwrap();
    }
    assert_eq!(path.hops(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(path.then(8), None);
    assert_eq!(ServerPath::new(&[0; 9]), None);
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Section 4 of RFC 4493; AES-256 from NIST SP 800-38B, appendix D.3.
#[test]
fn the_digest_is_that_of_rfc_4493() {
    let message = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                       30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
    let aes128 = hex("2b7e151628aed2a6abf7158809cf4f3c");
    let aes256 = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    for (secret, length, digest) in [
        (&aes128, 0, "bb1d6929e95937287fa37d129b756746"),
        (&aes128, 16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (&aes128, 40, "dfa66747de9ae63030ca32611497c827"),
        (&aes128, 64, "51f0bebf7e3b9d92fc49741779363cfe"),
        (&aes256, 0, "028962f61b7bf89efc6b551f4667d983"),
        (&aes256, 16, "28a7023f452e8f82bd4bf28d8c37c35c"),
        (&aes256, 40, "aaf3d8f1de5640c232f5b169b9c911e6"),
        (&aes256, 64, "e1992190549f6ed5696a2c056c315410"),
    ] {
        assert_eq!(Key::new(1, secret).unwrap().digest(&message[..length]).to_vec(), hex(digest));
    }
}

#[test]
fn a_sealed_packet_verifies_with_its_key_only() {
    let sealed = encode(&packet()).sealed(&key());
    let (decoded, trailer) = decode(&sealed).unwrap();
    let Trailer::Mac(mac) = trailer else { panic!("{trailer:?}") };
    assert_eq!(decoded, packet());
    assert!(mac.verifies(&key()));
    assert!(!mac.verifies(&Key::new(8, &[3; 16]).unwrap()));
    assert!(!mac.verifies(&Key::new(7, &[4; 16]).unwrap()));
}

#[test]
fn every_changed_bit_is_noticed() {
    let sealed = encode(&packet()).sealed(&key());
    for bit in 0..sealed.len() * 8 {
        let mut bytes = sealed.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verified = matches!(decode(&bytes), Ok((_, Trailer::Mac(mac))) if mac.verifies(&key()));
        assert!(!verified, "bit {bit}");
    }
}

#[test]
fn key_files_have_chronys_format() {
    let text = "# the rig's\n1 AES128 HEX:000102030405060708090a0b0c0D0E0F\n\n\
                2 AES128 ASCII:sixteen_letters_\n; old\n 4294967295 AES256 HEX:00112233445566778899\
                AABBCCDDEEFF00112233445566778899AABBCCDDEEFF\n3 AES128 0123456789abcdef\n";
    let keys = Keys::parse(text).unwrap();
    let message = b"hello";
    let same = |id, secret: &[u8]| {
        let expected = Key::new(id, secret).unwrap();
        keys.get(id).unwrap().digest(message) == expected.digest(message)
    };
    assert!(same(1, &(0..16).collect::<Vec<_>>()));
    assert!(same(2, b"sixteen_letters_"));
    assert!(same(3, b"0123456789abcdef"));
    assert!(keys.get(u32::MAX).is_some());
    assert!(keys.get(4).is_none());
}

#[test]
fn an_invalid_key_file_is_refused_with_its_line() {
    for (line, problem) in [
        ("1 AES128", "expected `ID AES128 HEX:...`"),
        ("1 AES128 HEX:00 11", "expected `ID AES128 HEX:...`"),
        ("0 AES128 HEX:00", "its first word is no key id: use a number from 1 to 4294967295"),
        ("4294967296 AES128 HEX:00", "its first word is no key id: use a number from 1 to 4294967295"),
        ("1 MD5 HEX:00", "its second word is no type that is known here: use AES128 or AES256"),
        ("1 AES128 HEX:001", "the digits after HEX: are not pairs of 0-9 and A-F"),
        ("1 AES128 HEX:+1", "the digits after HEX: are not pairs of 0-9 and A-F"),
        ("1 AES256 HEX:0011", "AES256 takes 32 bytes, but the secret has 2"),
        ("9 AES128 0123456789abcdef", "key 9 is given twice"),
    ] {
        let text = format!("9 AES128 0123456789abcdef\n{line}\n");
        let error = Keys::parse(&text).unwrap_err();
        assert_eq!((error.line, error.problem.as_str()), (2, problem));
    }
}

#[test]
fn a_key_does_not_show_its_secret() {
    assert_eq!(format!("{:?}", key()), "Key(7)");
}

prop_compose! {
    fn any_field()(
        ids: [u64; 3], began_ns: i64, uncertainty_ns: u32, flags: (bool, bool), small: (u16, u16, u16), rate_uncertainty_ppb: u32,
        hops in proptest::collection::vec(any::<u64>(), 0..=MAX_HOPS),
    ) -> RigField {
        let [rig, timescale, leader] = ids;
        let (unsettled, traceable) = flags;
        let (port, least_poll_ms, silence) = small;
        let silence = Span::from_millis(i64::from(silence));
        let (path, began) = (ServerPath::new(&hops).unwrap(), Timestamp::from_nanos(began_ns));
        RigField { rig, timescale, leader, began, traceable, path, uncertainty_ns, unsettled, silence,
            port, least_poll_ms, rate_uncertainty_ppb }
    }
}

prop_compose! {
    fn any_packet()(
        leap in 0..4_u8, mode in 0..8_u8, stratum: u8, poll: i8, precision: i8, root: (u32, u32),
        reference_id: [u8; 4], stamps: [u64; 4], rig in proptest::option::of(any_field()),
    ) -> Packet {
        let [reference, origin, receive, transmit] = stamps.map(NtpTimestamp);
        let (root_delay, root_dispersion) = (NtpShort(root.0), NtpShort(root.1));
        Packet { leap, mode, stratum, poll, precision, root_delay, root_dispersion, reference_id, reference,
            origin, receive, transmit, rig, ..Packet::default() }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(packet in any_packet(), sealed: bool) {
        let mut datagram = encode(&packet);
        if sealed {
            datagram = datagram.sealed(&key());
        }
        let (decoded, trailer) = decode(&datagram).unwrap();
        prop_assert_eq!(decoded, packet);
        prop_assert_eq!(matches!(trailer, Trailer::Mac(mac) if mac.verifies(&key())), sealed);
    }

    #[test]
    fn what_decodes_decodes_again_the_same(
        version in 3_u8..=4, body in proptest::collection::vec(any::<u8>(), 47..260), ours: bool,
    ) {
        let mut bytes = [&[version << 3 | 3], &body[..]].concat();
        if ours && bytes.len() >= 52 {
            bytes[48..52].copy_from_slice(&[0xF5, 0x74, 0, 116]);
        }
        if let Ok((packet, _)) = decode(&bytes) {
            let again = encode(&packet);
            prop_assert_eq!(decode(&again).unwrap().0, packet);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_key_file_panics(text in "[ \\t0-9a-fAESHX:#\\n\\PC]{0,200}") {
        let _ = Keys::parse(&text);
    }

    #[test]
    fn times_survive_to_the_nanosecond(ns in 0_i64..4_000_000_000_000_000_000, away in -1_000_000_000_000_i64..1_000_000_000_000) {
        let at = Timestamp::<Rig>::from_nanos(ns);
        let pivot = at + Span::from_nanos(away);
        prop_assert_eq!(NtpTimestamp::from_rig(at).to_rig(pivot), at);
    }
}
