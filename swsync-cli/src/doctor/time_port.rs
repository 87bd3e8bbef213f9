//! Whether time services answer on their UDP ports.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use swsync_core::ntp::{self, NtpTimestamp, Packet};

/// How often a service is asked, and how long an answer may take. WiFi loses packets, but not three in a row.
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(500);

/// What came of asking a time service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeAnswer {
    /// It answers, at this address.
    Answers(SocketAddr),
    /// Nothing comes back from any of its addresses: the last reason.
    Silent(String),
}

/// Asks for the time at each of `addresses` until one answers. Any answer counts, also that the time is refused for lack of a key.
pub fn ask(addresses: &[SocketAddr]) -> TimeAnswer {
    let mut why = "it names no address".to_owned();
    for address in addresses {
        match ask_at(*address) {
            Ok(()) => return TimeAnswer::Answers(*address),
            Err(error) => why = error,
        }
    }
    TimeAnswer::Silent(why)
}

fn ask_at(address: SocketAddr) -> Result<(), String> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let failed = |error: std::io::Error| format!("udp/{address}: {error}");
    let socket = UdpSocket::bind(any).map_err(failed)?;
    socket.connect(address).map_err(failed)?;
    for number in 1..=TRIES {
        let asked = NtpTimestamp(u64::from(std::process::id()) << 32 | u64::from(number));
        let request = Packet { mode: ntp::MODE_CLIENT, transmit: asked, ..Packet::default() };
        socket.send(&ntp::encode(&request)).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 512];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left)).map_err(failed)?;
            match socket.recv(&mut bytes) {
                Ok(length) if is_answer(&bytes[..length], asked) => return Ok(()),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    break;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Err(format!("udp/{address}: asked {TRIES} times, nothing came back in {} ms each", PATIENCE.as_millis()))
}

fn is_answer(bytes: &[u8], asked: NtpTimestamp) -> bool {
    ntp::decode(bytes).is_ok_and(|(packet, _)| packet.mode == ntp::MODE_SERVER && packet.origin == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_answers_is_told_from_a_silent_one_and_from_none() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            let (request, _) = ntp::decode(&bytes[..length]).unwrap();
            let reply = Packet { mode: ntp::MODE_SERVER, origin: request.transmit, ..Packet::default() };
            server.send_to(&ntp::encode(&reply), from).unwrap();
        });
        assert_eq!(ask(&[gone, address]), TimeAnswer::Answers(address));
        serving.join().unwrap();
        let TimeAnswer::Silent(why) = ask(&[silent.local_addr().unwrap()]) else { panic!() };
        assert!(why.contains("nothing came back"), "{why}");
        assert!(matches!(ask(&[gone]), TimeAnswer::Silent(_)));
        assert!(matches!(ask(&[]), TimeAnswer::Silent(_)));
    }
}
