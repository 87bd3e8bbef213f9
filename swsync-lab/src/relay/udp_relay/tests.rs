use swsync_sim::link::DirectionModel;

use super::*;

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn relay(server: &UdpSocket, link: LinkModel) -> Relay {
    let config = RelayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        forward_to: server.local_addr().unwrap(),
        link,
        seed: 1,
    };
    Relay::spawn(&config).unwrap()
}

#[test]
fn datagrams_of_two_clients_go_there_and_back() {
    let server = socket();
    let relay = relay(&server, LinkModel::ideal());
    let clients = [socket(), socket()];
    let mut buffer = [0; 100];
    for (index, client) in (0_u8..).zip(&clients) {
        client.send_to(&[index], relay.local_addr()).unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], [index]);
        server.send_to(&[index, 7], from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&[index, 7][..], relay.local_addr()));
    }
    let stats = relay.stats();
    assert_eq!(stats, RelayStats { forwarded: 4, lost: 0, late: stats.late, refused: 0 });
}

#[test]
fn no_datagram_comes_earlier_than_the_link_allows() {
    let server = socket();
    let relay = relay(&server, LinkModel::wifi());
    let client = socket();
    let mut buffer = [0; 100];
    for _ in 0..50 {
        let sent = host_now();
        client.send_to(b"x", relay.local_addr()).unwrap();
        if relay.stats().lost > 0 {
            return; // this link may lose one
        }
        server.recv_from(&mut buffer).unwrap();
        assert!(host_now() - sent >= Span::from_micros(400), "{:?}", host_now() - sent);
    }
}

#[test]
fn the_link_may_lose_everything() {
    let server = socket();
    let relay = relay(&server, LinkModel { loss: 1.0, ..LinkModel::ideal() });
    let client = socket();
    client.send_to(b"x", relay.local_addr()).unwrap();
    while relay.stats().lost == 0 {
        std::thread::yield_now();
    }
    assert_eq!(relay.stats(), RelayStats { forwarded: 0, lost: 1, late: 0, refused: 0 });
}

#[test]
fn too_many_clients_are_refused_and_do_not_disturb_others() {
    let server = socket();
    let relay = relay(&server, LinkModel::ideal());
    let clients: Vec<_> = (0..=MAX_CLIENTS).map(|_| socket()).collect();
    let mut buffer = [0; 100];
    for client in &clients[..MAX_CLIENTS] {
        client.send_to(b"x", relay.local_addr()).unwrap();
        server.recv_from(&mut buffer).unwrap();
    }
    clients[MAX_CLIENTS].send_to(b"x", relay.local_addr()).unwrap();
    while relay.stats().refused == 0 {
        std::thread::yield_now();
    }
    clients[0].send_to(b"y", relay.local_addr()).unwrap();
    assert_eq!(server.recv_from(&mut buffer).unwrap().0, 1);
    assert_eq!(buffer[0], b'y');
}

/// A link of the same delay both ways, always.
fn constant(delay: Span) -> LinkModel {
    let direction = DirectionModel { floor: delay, ..LinkModel::ideal().to_leader };
    LinkModel { to_leader: direction, to_client: direction, ..LinkModel::ideal() }
}

#[test]
fn datagrams_are_released_when_the_link_says() {
    let server = with_timestamps(socket()).unwrap();
    let relay = relay(&server, constant(Span::from_millis(2)));
    let client = socket();
    let mut late: Vec<f64> = (0..200_u32)
        .map(|n| {
            std::thread::sleep(Duration::from_micros(3_000 + u64::from(n) * 37 % 2_000));
            let sent = host_now();
            client.send_to(b"x", relay.local_addr()).unwrap();
            let mut buffer = [0; 9];
            let arrived = loop {
                if let Some(datagram) = receive(&server, &mut buffer) {
                    break datagram.at;
                }
            };
            (arrived - sent - Span::from_millis(2)).as_micros_f64()
        })
        .collect();
    late.sort_by(f64::total_cmp);
    let [min, p50, p90, p99, max] = [0, 100, 180, 198, 199].map(|index| late[index]);
    println!("late by us: min {min:.1} median {p50:.1} p90 {p90:.1} p99 {p99:.1} max {max:.1}");
    // Kernel and process read different clocks, and an interrupt between the two reads shifts the result.
    let least = late[late.len() / 20];
    assert!(least >= 0.0, "never early: {least}");
    assert!(p50 < 2_000.0, "on a machine with anything left to give: {p50}");
}

#[test]
fn dropping_it_frees_the_port() {
    let server = socket();
    let relay = relay(&server, LinkModel::ideal());
    let address = relay.local_addr();
    drop(relay);
    UdpSocket::bind(address).unwrap();
}
