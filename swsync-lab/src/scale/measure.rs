//! The measurements of one rig: idle, orders, joins.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use swsync_core::name::Name;
use swsync_core::time_service::SyncState;

use super::capture::Counts;
use super::lab::Lab;
use super::protocol::{Command, Part, Sample, Told};
use super::resources::{Usage, tick_rate};

/// How long a rig may take to be in sync.
const START: Duration = Duration::from_secs(240);
/// How long the orders may take, each.
const ORDER: Duration = Duration::from_secs(15);
/// How long the rig is counted before a join, and from the join on. Zenoh's intervals, 2.5 s the longest, and those of adverts, 0.5 s,
/// are whole in it.
const BEFORE_JOIN: Duration = Duration::from_secs(10);
const JOIN: Duration = Duration::from_secs(15);
/// Between two counts.
const STEP: Duration = Duration::from_millis(500);
/// After the newcomer has left.
const AFTER_JOIN: Duration = Duration::from_secs(5);

/// A rig to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rig: Name,
    pub devices: usize,
    /// Most clients of each time server.
    pub max_clients: Option<usize>,
    pub settle: Duration,
    pub idle: Duration,
    pub orders: u32,
    pub joins: usize,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    pub devices: usize,
    pub max_clients: Option<usize>,
    /// From the start of the second device until all were synced.
    pub start: Duration,
    pub idle: Idle,
    pub orders: Orders,
    pub joins: Vec<Join>,
}

/// The idle rig.
#[derive(Debug, Clone)]
pub struct Idle {
    pub span: Duration,
    pub packets: Counts,
    /// Frames that passed the bridge by the kernel's own count.
    pub frames: u64,
    /// What each device used in `span`.
    pub usage: Vec<Used>,
    /// The device that leads.
    pub leader: usize,
    /// How the clocks were, round by round, by device.
    pub samples: Vec<Vec<(usize, Sample)>>,
    /// Samples that did not come.
    pub silent: usize,
}

/// What a device used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Of one processor, in per cent.
    pub cpu_percent: f64,
    pub resident_kb: u64,
    pub own_kb: u64,
}

/// Orders that were given.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// From each order to its last answer, of those that all devices answered.
    pub times: Vec<Duration>,
    /// Orders that not all devices answered, with the reason.
    pub incomplete: Vec<String>,
    /// From the visitor's start until it saw all devices.
    pub sight: Option<Duration>,
}

/// A device that joined.
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// Packets of the control plane above the idle rate, of the whole rig, without acknowledgements. How many of these the
    /// idle rig sends varies by more than a join costs.
    pub messages: f64,
    /// Packets of the control plane from or to the newcomer, all of them.
    pub own: u64,
    /// Packets of the time service above the idle rate, of the whole rig.
    pub time: f64,
    /// When the last half second was over that had clearly more packets of the control plane than any before the join.
    pub quiet: Duration,
}

impl Lab {
    /// Measures a rig, and ends it.
    pub fn measure(&mut self, plan: &Plan) -> anyhow::Result<Measured> {
        let start = self.start_rig(plan)?;
        let idle = self.idle(plan)?;
        let orders = self.orders(plan)?;
        let joins = (0..plan.joins).map(|join| self.join(plan, join)).collect::<Result<_, _>>()?;
        self.end();
        let Plan { devices, max_clients, .. } = *plan;
        Ok(Measured { devices, max_clients, start, idle, orders, joins })
    }

    fn start_device(&mut self, plan: &Plan, node: usize) -> anyhow::Result<()> {
        let id = Name::new(format!("device{node}"))?;
        self.start(node, &Part::Device { rig: plan.rig.clone(), id, max_clients: plan.max_clients })
    }

    /// Starts all devices: the first one leads, and the others come together.
    fn start_rig(&mut self, plan: &Plan) -> anyhow::Result<Duration> {
        self.start_device(plan, 0)?;
        self.wait_for_clocks(1, plan)?;
        let begun = Instant::now();
        for node in 1..plan.devices {
            self.start_device(plan, node)?;
        }
        self.wait_for_clocks(plan.devices, plan)?;
        let took = begun.elapsed();
        self.progress.tell(&format!("{} devices are synced after {:.1} s", plan.devices, took.as_secs_f64()));
        self.wait(plan.settle)?;
        Ok(took)
    }

    /// Waits until the first `count` devices are in the rig, and in sync.
    fn wait_for_clocks(&mut self, count: usize, plan: &Plan) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        let mut joined = usize::from(count > 1);
        while joined < count {
            let Some((_, told)) = self.event(deadline)? else {
                bail!("{joined} of {} devices are in the rig after {START:?}", plan.devices)
            };
            joined += usize::from(matches!(told, Told::Joined));
            self.progress.waiting("in the rig", joined, plan.devices);
        }
        loop {
            let samples = self.samples(0..count)?;
            let synced = samples.values().filter(|sample| knows(sample)).count();
            if synced == count {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{synced} of {count} devices are synced after {START:?}");
            self.progress.waiting("in sync", synced, count);
            self.wait(Duration::from_millis(500))?;
        }
    }

    fn usages(&self, plan: &Plan) -> anyhow::Result<Vec<Usage>> {
        (0..plan.devices).map(|node| self.usage(node)).collect()
    }

    fn idle(&mut self, plan: &Plan) -> anyhow::Result<Idle> {
        self.progress.tell(&format!("{} devices: idle for {:?}", plan.devices, plan.idle));
        let (usage, frames, counts, begun) =
            (self.usages(plan)?, self.frames()?, self.capture.counts()?, Instant::now());
        let (mut samples, mut silent) = (Vec::new(), 0);
        while begun.elapsed() < plan.idle {
            let round = Instant::now();
            let told = self.samples(0..plan.devices)?;
            silent += plan.devices - told.len();
            samples.push(told.into_iter().collect());
            let next = (round + Duration::from_secs(1)).min(begun + plan.idle);
            self.wait(next.saturating_duration_since(Instant::now()))?;
        }
        let (packets, span) = (self.capture.counts()?.since(&counts), begun.elapsed());
        let frames = self.frames()? - frames;
        let used = |(before, after): (&Usage, Usage)| Used {
            cpu_percent: percent(after.ticks - before.ticks, span),
            resident_kb: after.resident_kb,
            own_kb: after.own_kb,
        };
        let usage = usage.iter().zip(self.usages(plan)?).map(used).collect();
        let leader = leader(samples.last().map_or(&[], Vec::as_slice)).context("no device leads the rig")?;
        Ok(Idle { span, packets, frames, usage, leader, samples, silent })
    }

    fn orders(&mut self, plan: &Plan) -> anyhow::Result<Orders> {
        let mut orders = Orders::default();
        if plan.orders == 0 {
            return Ok(orders);
        }
        self.progress.tell(&format!("{} devices: {} orders", plan.devices, plan.orders));
        let visitor = self.nodes - 1;
        self.start(visitor, &Part::Visitor { rig: plan.rig.clone() })?;
        self.command(visitor, &Command::Order { devices: plan.devices, orders: plan.orders })?;
        let mut deadline = Instant::now() + START;
        let mut count = 0;
        loop {
            let Some((_, told)) = self.event(deadline)? else { bail!("the visitor tells nothing any more") };
            deadline = Instant::now() + ORDER;
            match told {
                Told::Sees { after_ns } => orders.sight = Some(after_ns.to_duration()),
                Told::Placed(placed) => {
                    count += 1;
                    match placed.last_answer_ns {
                        Some(took) if placed.answered == plan.devices && placed.why.is_none() => {
                            orders.times.push(took.to_duration());
                        }
                        _ => {
                            let why = placed.why.unwrap_or_default();
                            let (answered, devices) = (placed.answered, plan.devices);
                            orders
                                .incomplete
                                .push(format!("{answered} of {devices} devices answered: {why}"));
                        }
                    }
                    self.progress.waiting("orders", count, usize::try_from(plan.orders)?);
                }
                Told::Done => break,
                Told::Joined | Told::Sample(_) | Told::Clients(_) => {}
            }
        }
        self.leave(visitor)?;
        Ok(orders)
    }

    /// Counts what a join costs. The newcomer leaves again.
    fn join(&mut self, plan: &Plan, join: usize) -> anyhow::Result<Join> {
        self.progress.tell(&format!("{} devices: join {} of {}", plan.devices, join + 1, plan.joins));
        let newcomer = plan.devices + join;
        self.wait(AFTER_JOIN)?; // what was before has to be over
        let before = self.steps(BEFORE_JOIN)?;
        self.start_device(plan, newcomer)?;
        let after = self.steps(JOIN)?;
        let clock = self.samples([newcomer])?;
        ensure!(clock.get(&newcomer).is_some_and(knows), "the newcomer is not synced after {JOIN:?}");
        self.leave(newcomer)?;
        Ok(join_of(&before, &after, newcomer, plan.devices))
    }

    /// Packets step by step.
    fn steps(&mut self, span: Duration) -> anyhow::Result<Vec<Counts>> {
        let (begun, mut steps) = (Instant::now(), Vec::new());
        let mut before = self.capture.counts()?;
        let mut until = begun;
        while until < begun + span {
            until += STEP;
            self.wait(until.saturating_duration_since(Instant::now()))?;
            let counts = self.capture.counts()?;
            steps.push(counts.since(&before));
            before = counts;
        }
        Ok(steps)
    }
}

/// What a join has cost by the packets in the steps before and after it.
fn join_of(before: &[Counts], after: &[Counts], newcomer: usize, devices: usize) -> Join {
    let most = before.iter().map(|step| step.control).max().unwrap_or_default();
    // A quarter more is no more: a step may have a keepalive or two more by chance.
    let is_busy = |step: &Counts| step.control > most + most / 4 + 4;
    let last = after.iter().rposition(is_busy).map_or(0, |step| step + 1);
    // The newcomer is idle too, once it has joined: as any other.
    let share = 1.0 + 1.0 / super::float(devices);
    let above = |of: fn(&Counts) -> u64| {
        let sum = |steps: &[Counts]| super::float(steps.iter().map(of).sum::<u64>());
        sum(after) - sum(before) * share * super::float(after.len()) / super::float(before.len().max(1))
    };
    Join {
        messages: above(|step| step.messages),
        own: after.iter().filter_map(|step| step.nodes.get(newcomer)).map(|node| node.control).sum(),
        time: above(|step| step.time),
        quiet: STEP * u32::try_from(last).unwrap_or(u32::MAX),
    }
}

/// Whether the device knows the time.
const fn knows(sample: &Sample) -> bool {
    matches!(sample.quality, SyncState::Synced | SyncState::Leading)
}

/// The device that leads.
pub fn leader(samples: &[(usize, Sample)]) -> Option<usize> {
    samples.iter().find(|(_, sample)| sample.quality == SyncState::Leading).map(|(node, _)| *node)
}

/// `ticks` of processor time in `span`, in per cent of a processor.
pub fn percent(ticks: u64, span: Duration) -> f64 {
    100.0 * super::float(ticks) / super::float(tick_rate()) / span.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::capture::NodeCounts;
    use super::*;

    fn step(control: u64, newcomer: u64) -> Counts {
        let nodes = vec![NodeCounts::default(), NodeCounts { control: newcomer, time: 0 }];
        Counts { control: control + 3, messages: control, time: 2, nodes, ..Counts::default() }
    }

    #[test]
    fn a_join_is_what_exceeds_the_idle_rate() {
        // One device with 10 or 12 packets in each step; the newcomer is idle with as many, and joins with 50.
        let before = [step(10, 0), step(12, 0)];
        let after = [step(10, 0), step(22 + 50, 61), step(11, 11), step(11, 11)];
        let join = join_of(&before, &after, 1, 1);
        assert_eq!((join.own, join.quiet), (83, STEP * 2));
        assert!((join.messages - (104.0 - 88.0)).abs() < 1e-9, "{join:?}");
        assert!((join.time - (8.0 - 16.0)).abs() < 1e-9, "{join:?}");
    }

    #[test]
    fn processor_time_is_of_one_processor() {
        let percent = percent(tick_rate() / 2, Duration::from_secs(2));
        assert!((percent - 25.0).abs() < 1e-9, "{percent}");
    }
}
