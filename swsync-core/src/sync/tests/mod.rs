use super::*;

#[test]
fn a_server_answers_requests_only_and_never_longer() {
    use crate::ntp::{self, Packet};
    use crate::time::Timestamp;
    let mut server = Server::new(ServerConfig::default());
    let status = ServerStatus::leading(&Identity { rig: 1, device: 2, timescale: 3 }, Timestamp::ZERO);
    let at = Timestamp::from_nanos(5);
    let from = "10.0.0.1".parse().unwrap();
    let plain = ntp::encode(&Packet { mode: ntp::MODE_CLIENT, ..Packet::default() });
    let response = server.handle_request(&plain, from, at, at, &status).unwrap();
    assert_eq!(response.datagram.len(), plain.len());
    let response = ntp::encode(&Packet { mode: ntp::MODE_SERVER, ..Packet::default() });
    assert_eq!(server.handle_request(&response, from, at, at, &status), None);
    assert_eq!(server.handle_request(b"short", from, at, at, &status), None);
}
