//! A UDP socket whose datagrams carry the local time at which they left and came.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use swsync_core::time::{Local, Realtime, Span, Timestamp};
use timestamped_socket::socket::{GeneralTimestampMode, Open, Socket, TimestampData, open_ip};

use crate::clock::DeviceClock;

/// A datagram that has come.
#[derive(Debug)]
pub struct Received {
    pub length: usize,
    pub from: SocketAddr,
    /// Local time of its arrival.
    pub at: Timestamp<Local>,
}

/// See the module's documentation.
pub struct StampedSocket {
    socket: Socket<SocketAddr, Open>,
    clock: Arc<DeviceClock>,
    /// Whether every stamp so far was the kernel's.
    kernel_stamps: bool,
}

impl StampedSocket {
    /// Opens a socket at `address`. Must be called in the executor's context.
    pub fn open(address: SocketAddr, clock: Arc<DeviceClock>) -> io::Result<Self> {
        let socket = open_ip(address, GeneralTimestampMode::SoftwareAll, false)?;
        Ok(Self { socket, clock, kernel_stamps: true })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    fn local_time(&mut self, stamp: TimestampData, now: Timestamp<Local>, what: &str) -> Timestamp<Local> {
        if let Some(stamp) = stamp.software {
            let stamp = Timestamp::<Realtime>::ZERO
                + Span::from_secs(stamp.seconds)
                + Span::from_nanos(i64::from(stamp.nanos));
            return self.clock.local_from_realtime(stamp);
        }
        if self.kernel_stamps {
            self.kernel_stamps = false;
            tracing::warn!(
                "no kernel timestamp for a {what} packet: falling back to user space, \
                 which costs accuracy"
            );
        }
        now
    }

    /// Sends `bytes`, and returns when they left.
    pub async fn send_to(&mut self, bytes: &[u8], to: SocketAddr) -> io::Result<Timestamp<Local>> {
        let now = self.clock.now();
        let stamp = self.socket.send_to(bytes, to).await?;
        Ok(self.local_time(stamp, now, "sent"))
    }

    /// Waits for a datagram. Cancelling the wait loses nothing.
    pub async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let received = self.socket.recv(buffer).await?;
        let now = self.clock.now();
        Ok(Received {
            length: received.bytes_read,
            from: received.remote_addr,
            at: self.local_time(received.timestamp_data, now, "received"),
        })
    }
}
