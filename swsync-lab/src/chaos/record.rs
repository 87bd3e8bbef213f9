//! Everything that was seen in a run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use swsync_core::name::OrderId;
use swsync_core::order::{Answer, Order};
use swsync_core::time::{Host, Timestamp};

use super::event::{BusMessage, Event};
use super::protocol::{Heard, Observation, Outcome};
use super::reading::Reading;
use super::rig::Rig;
use crate::network::Side;

/// What was seen.
#[derive(Default)]
pub struct Record {
    /// In the order in which they were heard.
    pub readings: Vec<Reading>,
    /// How often devices were asked.
    pub rounds: u64,
    pub bus: Vec<BusEntry>,
    pub orders: BTreeMap<OrderId, GivenOrder>,
    /// Orders that could not be given, and why.
    pub not_given: Vec<(OrderId, Timestamp<Host>, String)>,
    pub faults: Vec<FaultEntry>,
    /// What went wrong with the run itself: a device that ended by itself, for instance.
    pub troubles: Vec<String>,
}

/// A message of a device's clock.
pub struct BusEntry {
    pub device: usize,
    pub at: Timestamp<Host>,
    pub message: BusMessage,
}

/// A fault, when it began and when it was repaired.
pub struct FaultEntry {
    pub kind: &'static str,
    pub what: String,
    pub began: Timestamp<Host>,
    /// `None`: not yet.
    pub repaired: Option<Timestamp<Host>>,
    pub leaderless: Option<Side>,
    pub apart: Vec<usize>,
    /// Who led before it.
    pub leader: Option<usize>,
}

/// An order that was given.
pub struct GivenOrder {
    pub order: Order,
    pub side: Side,
    pub at: Timestamp<Host>,
    /// The first answer of each device.
    pub answers: BTreeMap<usize, Heard<Answer>>,
    /// Why a device gave no answer at first.
    pub silent: BTreeMap<usize, Heard<String>>,
    /// How many of its givings have not ended.
    pub going: u32,
}

impl Record {
    /// Writes all readings to `path`, as CSV, for whoever looks for what a check has found.
    pub fn write_readings(&self, path: &Path, began: Timestamp<Host>) -> anyhow::Result<()> {
        let mut lines =
            String::from("at_s,device,run,side,round,state,offset_ns,sigma_ns,timescale,leader\n");
        for reading in &self.readings {
            let Reading { device, run, side, round, sync, .. } = reading;
            let (offset, sigma) = (reading.offset.as_nanos(), reading.sigma.as_nanos());
            let at = (reading.at - began).as_secs_f64();
            let whose = reading
                .whose
                .map_or(",".to_owned(), |whose| format!("{:x},{:x}", whose.timescale, whose.leader));
            lines.push_str(&format!(
                "{at:.6},{device},{run},{side:?},{round},{},{offset},{sigma},{whose}\n",
                sync.as_str()
            ));
        }
        std::fs::write(path, lines).with_context(|| path.display().to_string())
    }

    /// Takes down an event.
    pub fn handle(&mut self, rig: &mut Rig, event: Event) {
        match event {
            Event::Bus { device, at, message } => self.bus.push(BusEntry { device, at, message }),
            Event::Observed { side, observation } => self.observed(rig, side, observation),
        }
    }

    fn observed(&mut self, rig: &mut Rig, side: Side, observation: Observation) {
        match observation {
            Observation::Statuses(reports) => {
                self.rounds += 1;
                for Heard { at, what: status } in reports {
                    let Some(index) = super::device::index_of(status.device.as_str()) else { continue };
                    let Some(device) = rig.devices.get(index) else { continue };
                    rig.timeline.see(index, at, side);
                    let Some(reading) = Reading::of(index, side, self.rounds, &status, device.clocks())
                    else {
                        continue;
                    };
                    if reading.leads() && rig.leaders[side.index()].is_none_or(|(_, heard)| heard < at) {
                        rig.leaders[side.index()] = Some((index, at));
                    }
                    if reading.is_in_use() {
                        rig.told[side.index()] = Some(at);
                    }
                    self.readings.push(reading);
                }
            }
            Observation::Given(Heard { at, what: order }) => {
                let (answers, silent) = Default::default();
                let id = order.id().clone();
                self.orders.insert(id, GivenOrder { order, side, at, answers, silent, going: 1 });
            }
            Observation::NotGiven { id, at, why } => self.not_given.push((id, at, why)),
            Observation::Outcome { order, device, outcome: Heard { at, what } } => {
                let device = super::device::index_of(device.as_str());
                let (Some(given), Some(device)) = (self.orders.get_mut(&order), device) else { return };
                match what {
                    Outcome::Answered(answer) => {
                        given.answers.entry(device).or_insert(Heard { at, what: *answer });
                    }
                    Outcome::Nothing(why) => {
                        given.silent.entry(device).or_insert(Heard { at, what: why });
                    }
                }
            }
            Observation::Ended { order } => {
                if let Some(given) = self.orders.get_mut(&order) {
                    given.going = given.going.saturating_sub(1);
                }
            }
        }
    }
}
