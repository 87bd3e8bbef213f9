//! What a thousand clients cost a leader: a device alone, and a process that is all of them.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use swsync_core::name::Name;
use swsync_time::DEFAULT_PORT;

use super::lab::Lab;
use super::measure::percent;
use super::protocol::{Clients, Part, Told};
use crate::network;

/// The namespaces of the two.
const LEADER: usize = 0;
const LOAD: usize = 1;
/// Each client begins with a burst of some hundred requests. So many begin in a second.
const BEGIN_A_SECOND: u32 = 50;
/// How long all may take to be synced once all have begun.
const SYNC: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    pub clients: usize,
    pub synced: usize,
    pub span: Duration,
    /// Requests that the leader answered in `span`.
    pub requests: u64,
    /// Requests in `span` without an answer.
    pub lost: u64,
    /// The leader's process, in per cent of one processor.
    pub cpu_percent: f64,
    /// The same before the first client came.
    pub alone_percent: f64,
    pub resident_kb: u64,
}

impl Lab {
    /// Measures a leader with `count` clients for `span`. They have `settle` after their bursts to come to the intervals that they keep.
    pub fn serve(
        &mut self,
        rig: &Name,
        count: u16,
        settle: Duration,
        span: Duration,
    ) -> anyhow::Result<Served> {
        self.progress.tell(&format!("a leader with {count} clients"));
        self.network.configure(LOAD, "route add local 10.88.0.0/16 dev lo\n")?;
        let load = network::address(LOAD);
        self.network.configure(LEADER, &format!("route replace 10.88.0.0/16 via {load} dev eth0\n"))?;
        let id = Name::new("leader")?;
        let room = usize::from(count) + 1;
        self.start(LEADER, &Part::Device { rig: rig.clone(), id, max_clients: Some(room) })?;
        self.wait(Duration::from_secs(5))?;
        let alone = self.usage(LEADER)?;
        self.wait(span / 2)?;
        let alone_percent = percent(self.usage(LEADER)?.ticks - alone.ticks, span / 2);

        let over_ms = u32::from(count) * 1_000 / BEGIN_A_SECOND;
        let server = SocketAddrV4::new(network::address(LEADER), DEFAULT_PORT);
        self.start(LOAD, &Part::Load { rig: rig.clone(), server, clients: count, over_ms })?;
        let all = usize::from(count);
        let deadline = Instant::now() + Duration::from_millis(over_ms.into()) + SYNC;
        while self.clients(deadline, all)?.synced < all {}
        self.progress.tell(&format!("all {count} clients are synced"));
        self.wait(settle)?;

        let before = self.clients(Instant::now() + SYNC, all)?;
        let (usage, begun) = (self.usage(LEADER)?, Instant::now());
        self.wait(span)?;
        let after = self.clients(Instant::now() + SYNC, all)?;
        let (used, span) = (self.usage(LEADER)?, begun.elapsed());
        self.end();
        let responses = after.responses - before.responses;
        Ok(Served {
            clients: all,
            synced: after.synced,
            span,
            requests: responses,
            lost: (after.sent - before.sent).saturating_sub(responses),
            cpu_percent: percent(used.ticks - usage.ticks, span),
            alone_percent,
            resident_kb: used.resident_kb,
        })
    }

    /// What the clients tell next.
    fn clients(&mut self, deadline: Instant, all: usize) -> anyhow::Result<Clients> {
        loop {
            ensure!(Instant::now() < deadline, "not all clients are synced in time");
            let (_, told) = self.event(deadline)?.context("the clients tell nothing any more")?;
            match told {
                Told::Clients(clients) => {
                    self.progress.waiting("clients in sync", clients.synced, all);
                    return Ok(clients);
                }
                Told::Joined | Told::Sample(_) => {}
                Told::Sees { .. } | Told::Placed(_) | Told::Done => bail!("clients give no orders"),
            }
        }
    }
}
