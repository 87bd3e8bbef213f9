//! How long frames take to be handed over: which lengths can be answered in time, and which frames waited.

use crate::time::{Rig, Timestamp};

/// Weight of one frame in how long frames take to arrive, and how many mean deviations more a frame has to last
/// for the one after it to be answered in time: 98 in 100, if they are as an exponential's.
const GAIN: f64 = 0.1;
const DEVIATIONS: f64 = 4.0;
/// Frames that are handed over within this part of the time between them have waited.
const WAITED: f64 = 0.4;

/// See the module's documentation.
#[derive(Debug)]
pub struct DeliveryDelay {
    /// The grid's period, in ns.
    period: f64,
    /// From frames' times to when they are handed over, in ns, and its mean deviation.
    delay: Option<(f64, f64)>,
    /// The newest frame's time, and when it was handed over.
    newest: Option<(Timestamp<Rig>, Timestamp<Rig>)>,
}

impl DeliveryDelay {
    /// Nothing handed over yet, on a grid of `period` ns.
    pub const fn new(period: f64) -> Self {
        Self { period, delay: None, newest: None }
    }

    /// The frame of `time` is handed over at `now`: whether it has waited for the one before.
    pub fn handle_frame(&mut self, time: Timestamp<Rig>, now: Timestamp<Rig>) -> bool {
        self.learn((now - time).as_nanos_f64());
        self.newest.replace((time, now)).is_some_and(|(taken, handed)| {
            (now - handed).as_nanos_f64() < WAITED * (time - taken).as_nanos_f64()
        })
    }

    fn learn(&mut self, delay: f64) {
        let (mean, deviation) = self.delay.unwrap_or((delay, 0.0));
        let off = delay - mean;
        if off < -0.5 * self.period {
            // Frames before this one had waited for something.
            self.delay = Some((delay, 0.0));
            return;
        }
        let deviation = deviation + GAIN * (off.abs() - deviation);
        self.delay = Some((mean + GAIN * off, deviation));
    }

    /// After how long nearly all frames are handed over, in ns.
    pub fn soonest(&self) -> f64 {
        let delay = self.delay.map_or(0.0, |(mean, deviation)| mean + DEVIATIONS * deviation);
        (delay - self.usual()).max(0.0)
    }

    /// Whole periods after which frames are handed over anyhow, in ns: at high rates the next one has always
    /// begun. They are part of the latency, and learnt as such.
    pub fn usual(&self) -> f64 {
        self.delay.map_or(0.0, |(mean, _)| (mean / self.period).floor().max(0.0) * self.period)
    }
}
