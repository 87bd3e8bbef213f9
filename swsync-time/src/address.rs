//! IP addresses between nix and the standard library.

use std::net::SocketAddr;

use nix::sys::socket::SockaddrStorage;

/// The address as the standard library has it. `None`: it is of another family than IP.
pub fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&v4| SocketAddr::V4(v4.into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|&v6| SocketAddr::V6(v6.into())))
}
