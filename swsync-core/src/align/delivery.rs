//! How long frames take to be delivered, so that requests are made in time, and which frames came in a batch.

use crate::time::{Rig, Timestamp};

/// Weight of one frame in the mean delay.
const GAIN: f64 = 0.1;
/// Nearly all frames arrive within this number of mean deviations: 98 in 100 of an exponential distribution.
const DEVIATIONS: f64 = 4.0;
/// A frame that is delivered within this part of the frame duration after the previous one has waited for it.
const WAITED: f64 = 0.4;

/// See the module's documentation.
#[derive(Debug)]
pub struct DeliveryDelay {
    /// The grid's period, in ns.
    period: f64,
    /// Mean delay from a frame's time to its delivery, in ns, and the mean deviation.
    delay: Option<(f64, f64)>,
    /// The newest frame's time, and when it was delivered.
    newest: Option<(Timestamp<Rig>, Timestamp<Rig>)>,
}

impl DeliveryDelay {
    /// No deliveries yet, on a grid of `period` ns.
    pub const fn new(period: f64) -> Self {
        Self { period, delay: None, newest: None }
    }

    /// The frame of `time` is delivered at `now`. Returns whether it has waited for the previous frame.
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
            // Earlier frames had waited: start anew.
            self.delay = Some((delay, 0.0));
            return;
        }
        let deviation = deviation + GAIN * (off.abs() - deviation);
        self.delay = Some((mean + GAIN * off, deviation));
    }

    /// Time within which nearly all frames are delivered, beyond [`DeliveryDelay::usual`], in ns.
    pub fn soonest(&self) -> f64 {
        let delay = self.delay.map_or(0.0, |(mean, deviation)| mean + DEVIATIONS * deviation);
        (delay - self.usual()).max(0.0)
    }

    /// The whole periods in the mean delay, in ns. At high frame rates the next frame has always begun; these periods are part of
    /// the latency, which is learnt.
    pub fn usual(&self) -> f64 {
        self.delay.map_or(0.0, |(mean, _)| (mean / self.period).floor().max(0.0) * self.period)
    }
}
