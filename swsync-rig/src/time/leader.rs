//! The leader's task: answers every request with rig time.

use std::net::SocketAddr;
use std::sync::Arc;

use swsync_core::ntp::rig_id;
use swsync_core::sync::{Identity, Server, ServerConfig, ServerStatus};
use swsync_core::time::Offset;
use tokio::sync::watch;

use super::socket::{Received, StampedSocket};
use super::{Task, TimeError, runtime};
use crate::clock::RigClock;

/// Serves rig time until dropped.
#[derive(Debug)]
pub struct TimeLeader {
    address: SocketAddr,
    _task: Task,
}

impl TimeLeader {
    /// Makes `clock` lead and serves it at `address` (port 0: any free one).
    ///
    /// # Errors
    /// [`TimeError::Socket`] where the address cannot be had.
    pub fn start(address: SocketAddr, clock: Arc<RigClock>) -> Result<Self, TimeError> {
        let _context = runtime()?.enter();
        let socket = StampedSocket::open(address, clock.device().clone())
            .map_err(|error| TimeError::Socket { address, error })?;
        let address = socket.local_addr();
        clock.lead();
        let server = Server::new(ServerConfig::default());
        let identity = Identity { rig: rig_id("swsync"), device: rand::random(), timescale: rand::random() };
        let status = ServerStatus::leading(&identity, clock.now());
        let task = Task::spawn(move |stopped| serve(server, status, socket, clock, stopped))?;
        Ok(Self { address, _task: task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(
    mut server: Server,
    status: ServerStatus,
    mut socket: StampedSocket,
    clock: Arc<RigClock>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut buffer = [0; 1024];
    loop {
        let received = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            received = socket.receive(&mut buffer) => received,
        };
        match received {
            Ok(Received { length, from, at }) => {
                let offset: Offset = Offset::from_span(clock.status().offset_ns);
                let request = &buffer[..length];
                let response =
                    server.handle_request(request, from.ip(), offset.to_rig(at), clock.now(), &status);
                let Some(response) = response else { continue };
                match socket.send_to(&response.datagram, from).await {
                    Ok(sent) => {
                        if let Some(token) = response.token {
                            server.handle_sent(token, offset.to_rig(sent));
                        }
                    }
                    Err(error) => tracing::debug!(%from, %error, "cannot respond"),
                }
            }
            // An ICMP error of an earlier response, say. A persistent one must not spin.
            Err(error) => {
                tracing::debug!(%error, "cannot receive");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}
