//! The run: orders and faults in turn, while everything that is seen is taken down.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use swsync_core::name::Name;
use swsync_core::time::{Host, Span, Timestamp};
use swsync_time::host_now;

use super::args::{ChaosArgs, Roles};
use super::device::{self, Setup};
use super::event::Event;
use super::faults::{self, FaultKind, Repair};
use super::progress;
use super::protocol::Command;
use super::record::{FaultEntry, Record};
use super::rig::Rig;
use crate::network::Side;
use crate::progress::Progress;
use crate::split_mix::SplitMix64;

/// How long devices may take to be ready at the start.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long after the last fault they may take to be ready again.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all orders together may take that are given once more.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Orders given once more at a time.
const AGAIN_AT_ONCE: usize = 8;
/// The loop looks after the devices at least so often.
const TICK: Duration = Duration::from_millis(100);

/// A run, and what it needs.
pub struct Run<'a> {
    args: &'a ChaosArgs,
    pub rig: Rig,
    pub record: Record,
    events: Receiver<Event>,
    random: SplitMix64,
    interrupted: Arc<AtomicBool>,
    progress: Progress,
    /// The fault that has begun last, and when its repair is due.
    going: Option<(Repair, Instant)>,
    orders: u32,
    /// When the devices were all ready.
    pub began: Timestamp<Host>,
}

impl<'a> Run<'a> {
    /// Starts all devices and waits until they are ready.
    pub fn start(args: &'a ChaosArgs, setup: Setup, interrupted: Arc<AtomicBool>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&setup.out)
            .with_context(|| format!("cannot make {}", setup.out.display()))?;
        let (sender, events) = channel();
        let role = |index| match (args.roles, index) {
            (Roles::Auto, _) => "auto",
            (Roles::Fixed, 0) => "leader",
            (Roles::Fixed, _) => "client",
        };
        let rig = Rig::new(setup, args.devices.into(), role, sender)?;
        let mut run = Self {
            args,
            rig,
            record: Record::default(),
            events,
            random: SplitMix64::new(args.seed),
            interrupted,
            progress: Progress::new(),
            going: None,
            orders: 0,
            began: host_now(),
        };
        for index in 0..run.rig.devices.len() {
            run.rig.start(index, faults::wall(&mut run.random))?;
        }
        if !run.wait_until_ready(READY_TIMEOUT, "at the start")? {
            let missing = run.missing();
            bail!(
                "{} not ready within {READY_TIMEOUT:?}; its log {} ends:\n{}",
                device::name(missing[0]),
                run.rig.setup.out.join(device::name(missing[0])).with_extension("log").display(),
                device::tail(&run.rig.setup.out, missing[0])
            );
        }
        run.began = host_now();
        Ok(run)
    }

    /// Gives orders and faults until the time is up.
    pub fn go(&mut self) -> anyhow::Result<()> {
        let kinds: Vec<_> = self.args.faults.0.iter().copied().filter(|kind| self.can(kind)).collect();
        let begun = Instant::now();
        let mut next_order = begun;
        let mut next_fault = begun + Duration::from_secs(3);
        while begun.elapsed() < self.args.duration && !self.is_interrupted() {
            let due = next_order.min(self.going.as_ref().map_or(next_fault, |(_, repair_at)| *repair_at));
            self.handle_events(due)?;
            let now = Instant::now();
            if now >= next_order {
                next_order += self.args.every;
                self.order()?;
            }
            if self.going.as_ref().is_some_and(|(_, repair_at)| now >= *repair_at) {
                self.repair()?;
                next_fault = Instant::now() + Duration::from_millis(3_000 + self.random.below(5_000));
            } else if self.going.is_none() && now >= next_fault && !kinds.is_empty() {
                self.fault(&kinds)?;
                next_fault = Instant::now() + Duration::from_secs(1); // if the rig was not such that it could be
            }
            let (rig, record) = (&self.rig, &self.record);
            self.progress.show(|| progress::line(rig, record, begun.elapsed(), self.args.duration));
        }
        Ok(())
    }

    /// Repairs what is broken, waits until all devices are well, and asks for the answers that are missing.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        self.repair()?;
        if self.is_interrupted() {
            return Ok(());
        }
        if !self.wait_until_ready(SETTLE_TIMEOUT, "at the end")? {
            for index in self.missing() {
                let what =
                    format!("{} is not ready {SETTLE_TIMEOUT:?} after the last fault", device::name(index));
                self.record.troubles.push(what);
            }
        }
        self.give_again()
    }

    /// Ends the devices, so that the checks have the processors.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.progress.done();
        self.rig.end()
    }

    fn can(&self, kind: &FaultKind) -> bool {
        self.args.roles == Roles::Auto || !kind.needs_election
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Takes down events until `until`, or one tick long.
    fn handle_events(&mut self, until: Instant) -> anyhow::Result<()> {
        let until = until.min(Instant::now() + TICK);
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.record.handle(&mut self.rig, event),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => bail!("nobody tells anything any more"),
            }
        }
        self.look_after_devices()
    }

    /// Starts devices again that have ended by themselves.
    fn look_after_devices(&mut self) -> anyhow::Result<()> {
        for index in 0..self.rig.devices.len() {
            let Some(status) = self.rig.devices[index].ended()? else { continue };
            self.rig.changed(index);
            let seconds = (host_now() - self.began).as_secs_f64();
            let tail = device::tail(&self.rig.setup.out, index);
            let what =
                format!("{} ended by itself at {seconds:.1} s ({status}): {tail}", device::name(index));
            self.progress.tell(&what);
            self.record.troubles.push(what);
            self.rig.start(index, Span::ZERO)?;
        }
        Ok(())
    }

    /// Whether the devices are all synced and have frames within `timeout`.
    fn wait_until_ready(&mut self, timeout: Duration, when: &str) -> anyhow::Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            if self.is_interrupted() {
                bail!("interrupted {when}");
            }
            self.handle_events(Instant::now() + TICK)?;
            let missing = self.missing();
            self.progress.waiting(when, self.rig.devices.len() - missing.len(), self.rig.devices.len());
            if missing.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The devices that were not heard within the last second to be synced and to have frames. Whether their cameras are on the grid
    /// is not asked: it is time that is looked at here.
    fn missing(&self) -> Vec<usize> {
        let since = host_now() - Span::from_secs(1);
        let recent = self.record.readings.iter().rev().take_while(|reading| reading.at > since);
        let well = recent.filter(|reading| reading.sync.is_synced() && reading.has_frames);
        let ready: BTreeSet<_> = well.map(|reading| reading.device).collect();
        (0..self.rig.devices.len()).filter(|index| !ready.contains(index)).collect()
    }

    /// Gives an order on each side.
    fn order(&mut self) -> anyhow::Result<()> {
        for side in [Side::Main, Side::Apart] {
            // Those apart may begin a time scale of their own just now. On the main side some device always knows the time.
            if side == Side::Apart && !self.rig.takes_orders(side) {
                continue;
            }
            let from_now = Span::from_millis([300, 800, -700][usize::try_from(self.random.below(3))?]);
            let count = if self.random.below(4) == 0 { 5 } else { 1 };
            let id = Name::new(format!("c{:04}", self.orders))?;
            self.orders += 1;
            self.rig.command(side, &Command::Give { id, from_now, count })?;
        }
        Ok(())
    }

    /// Begins a fault of one of `kinds`.
    fn fault(&mut self, kinds: &[&'static FaultKind]) -> anyhow::Result<()> {
        let kind = kinds[usize::try_from(self.random.below(kinds.len() as u64))?];
        let (leader, began) = (self.rig.leader(Side::Main), host_now());
        let Some(begun) = (kind.begin)(&mut self.rig, &mut self.random)? else { return Ok(()) };
        let seconds = (began - self.began).as_secs_f64();
        self.progress
            .tell(&format!("{seconds:6.1} s  {}: {}, for {:.1?}", kind.name, begun.what, begun.lasts));
        self.going = Some((begun.repair, Instant::now() + begun.lasts));
        self.record.faults.push(FaultEntry {
            kind: kind.name,
            what: begun.what,
            began,
            repaired: None,
            leaderless: begun.leaderless,
            apart: begun.apart,
            leader,
        });
        Ok(())
    }

    fn repair(&mut self) -> anyhow::Result<()> {
        let Some((repair, _)) = self.going.take() else { return Ok(()) };
        let said = faults::repair(&mut self.rig, repair)?;
        if let Some(fault) = self.record.faults.last_mut() {
            fault.repaired = Some(host_now());
            if let Some(said) = said {
                fault.what.push_str(&format!(": {said}"));
            }
        }
        Ok(())
    }

    /// Gives every order once more that some device has not answered: one that was down answers it now.
    fn give_again(&mut self) -> anyhow::Result<()> {
        let count = self.rig.devices.len();
        // As an operator's next command does, a new observer looks for the devices anew. Those that gave the orders are gone.
        self.rig.observe(Side::Main)?;
        for given in self.record.orders.values_mut() {
            given.going = 0;
        }
        let before = host_now();
        while !self.is_interrupted() && host_now() - before < Span::from_secs(20) {
            let heard = |index| self.rig.timeline.is_seen_since(index, before);
            if (0..count).all(heard) {
                break;
            }
            self.handle_events(Instant::now() + TICK)?;
        }
        let mut open: Vec<_> = self
            .record
            .orders
            .iter()
            .filter(|(_, given)| given.answers.len() < count)
            .map(|(id, _)| id.clone())
            .collect();
        let (all, begun) = (open.len(), Instant::now());
        let going = |record: &Record| record.orders.values().filter(|given| given.going > 0).count();
        while begun.elapsed() < AGAIN_TIMEOUT && !self.is_interrupted() {
            while going(&self.record) < AGAIN_AT_ONCE
                && let Some(id) = open.pop()
                && let Some(given) = self.record.orders.get_mut(&id)
            {
                given.going += 1;
                let command = Command::GiveAgain(Box::new(given.order.clone()));
                self.rig.command(Side::Main, &command)?;
            }
            if open.is_empty() && going(&self.record) == 0 {
                break;
            }
            self.progress.waiting("for the last answers", all - open.len(), all);
            self.handle_events(Instant::now() + TICK)?;
        }
        Ok(())
    }
}
