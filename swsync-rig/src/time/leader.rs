//! The leader's task: answers every request with rig time.

use std::net::SocketAddr;
use std::sync::Arc;

use swsync_core::sync::Server;
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
        let server = Server::new(rand::random(), clock.now());
        let task = Task::spawn(|stopped| serve(server, socket, clock, stopped))?;
        Ok(Self { address, _task: task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(
    server: Server,
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
                let response = server.respond(&buffer[..length], offset.to_rig(at), clock.now());
                match response {
                    Ok(Some(response)) => {
                        if let Err(error) = socket.send_to(&response, from).await {
                            tracing::debug!(%from, %error, "cannot respond");
                        }
                    }
                    Ok(None) => tracing::debug!(%from, "not a request"),
                    Err(error) => tracing::debug!(%from, %error, "malformed request"),
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
