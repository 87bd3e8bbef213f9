//! The PTP grandmaster of the network as a source of time, through GstPtpClock and its helper process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst_net::{PtpClock, PtpStatisticsCallback};
use parking_lot::Mutex;
use swsync_core::leap::LeapNotice;
use swsync_core::time::Span;
use swsync_time::DeviceClock;
use swsync_time::{Reference, ReferenceReading};

use crate::clock::rig_time;

/// Silence after which a grandmaster counts as lost. Announcements come every 2 s by default, times every
/// second (IEEE 1588-2008, Annex J.3).
const SILENCE: Duration = Duration::from_secs(6);
/// A pair of clocks is read so often, at most, until the readings lie ...
const ATTEMPTS: usize = 4;
/// ... no further apart than this. Reading a GstPtpClock takes its locks.
const UNDISTURBED: Span = Span::from_micros(5);
/// Weight of the newest path delay in their mean scatter.
const GAIN: f64 = 1.0 / 16.0;
/// Uncertainty before the path has been measured more than once, and the least that is stated.
const UNKNOWN: Span = Span::from_micros(100);
const LEAST: Span = Span::from_micros(1);

/// What GstPtpClock's statistics say.
#[derive(Debug, Clone, Copy, Default)]
pub struct PtpStats {
    /// Whether anyone speaks PTP in the domain.
    found: bool,
    /// When the clock last learnt the time.
    updated: Option<Instant>,
    /// How often it did.
    pub updates: u64,
    /// Mean of the delays to and from the master.
    pub path_delay: Option<Span>,
    /// Mean deviation of single path delays.
    scatter: Option<Span>,
}

impl PtpStats {
    fn handle(&mut self, stats: &gst::StructureRef, now: Instant) {
        let nanos = |field| {
            let value = stats.get::<u64>(field).ok()?;
            Some(Span::from_nanos(i64::try_from(value).ok()?))
        };
        match stats.name().as_str() {
            "GstPtpStatisticsNewDomainFound" => self.found = true,
            "GstPtpStatisticsPathDelayMeasured" => {
                let measured = nanos("mean-path-delay").zip(nanos("mean-path-delay-avg"));
                if let Some((delay, mean)) = measured {
                    let deviation = (delay - mean).abs();
                    self.scatter = Some(match self.scatter {
                        Some(scatter) => scatter + (deviation - scatter).mul_f64(GAIN),
                        None => deviation.max(UNKNOWN),
                    });
                    self.path_delay = Some(mean);
                }
            }
            "GstPtpStatisticsTimeUpdated" => {
                (self.found, self.updated) = (true, Some(now));
                self.updates += 1;
            }
            _ => {}
        }
    }

    /// What the clock's error may be, 1 sigma: how much single measurements of the path scatter, since GstPtpClock says no more.
    fn uncertainty(&self) -> Span {
        self.scatter.unwrap_or(UNKNOWN).max(LEAST)
    }
}

/// The grandmaster's time: usually TAI, 37 s ahead of UTC.
#[derive(Debug)]
pub struct PtpReference {
    clock: PtpClock,
    device: Arc<DeviceClock>,
    stats: Arc<Mutex<PtpStats>>,
    callback: Option<PtpStatisticsCallback>,
}

impl PtpReference {
    /// Listens in `domain` on `interfaces`; on all of them if there are none.
    pub fn start(
        domain: u32,
        interfaces: &[String],
        device: Arc<DeviceClock>,
    ) -> Result<Self, gst::ErrorMessage> {
        if !PtpClock::is_supported() {
            return Err(gst::error_msg!(
                gst::ResourceError::NotFound,
                ("source=ptp: this GStreamer was built without PTP")
            ));
        }
        let names: Vec<_> = interfaces.iter().map(String::as_str).collect();
        if !PtpClock::is_initialized() {
            PtpClock::init(None, &names).map_err(|_| {
                gst::error_msg!(
                    gst::ResourceError::OpenReadWrite,
                    ("source=ptp: GStreamer's gst-ptp-helper cannot run: it is not there, finds no network interface, or \
                      cannot open UDP ports 319 and 320"),
                    ["It is part of libgstreamer1.0-0 in Debian. Let it use these ports \
                      (setcap cap_net_bind_service,cap_net_admin,cap_sys_nice+ep on the file), and stop a \
                      ptp4l that has them on this device: source=system follows that one, with phc2sys."]
                )
            })?;
        }
        let stats = Arc::new(Mutex::new(PtpStats::default()));
        let callback = PtpClock::add_statistics_callback({
            let stats = stats.clone();
            move |statistics_of, statistics| {
                if u32::from(statistics_of) == domain {
                    stats.lock().handle(statistics, Instant::now());
                }
                glib::ControlFlow::Continue
            }
        });
        let clock = PtpClock::new(None, domain).map_err(|error| {
            gst::error_msg!(gst::ResourceError::OpenReadWrite, ("source=ptp, domain {domain}: {error}"))
        })?;
        Ok(Self { clock, device, stats, callback: Some(callback) })
    }

    /// Its statistics, which stay readable while it is followed.
    pub fn stats(&self) -> Arc<Mutex<PtpStats>> {
        self.stats.clone()
    }

    /// Why the clock cannot be used now, and what may help.
    fn trouble(&self, stats: &PtpStats, now: Instant) -> Option<String> {
        let domain = self.clock.domain();
        match stats.updated {
            Some(updated) if now - updated > SILENCE => {
                Some(format!("the PTP grandmaster of domain {domain} has fallen silent"))
            }
            Some(_) if self.clock.is_synced() => None,
            _ if stats.found => {
                Some(format!("in PTP domain {domain} there is a clock, but no time from it yet"))
            }
            _ => Some(format!(
                "nobody speaks PTP in domain {domain}: is a grandmaster running (`ptp4l -S -i IFACE` makes \
                 one), is `ptp-domain` its domain, and does the network pass multicast to 224.0.1.129, \
                 UDP ports 319 and 320?"
            )),
        }
    }
}

impl Reference for PtpReference {
    fn read(&mut self) -> Option<ReferenceReading> {
        let stats = *self.stats.lock();
        let unsynced = self.trouble(&stats, Instant::now());
        let attempt = || {
            let before = self.device.now();
            // Before it is synced it has no time.
            let reference = match unsynced {
                None => rig_time(self.clock.time()),
                Some(_) => swsync_core::time::Timestamp::ZERO,
            };
            (before, reference, self.device.now())
        };
        let mut best = attempt();
        for _ in 1..ATTEMPTS {
            if best.2 - best.0 <= UNDISTURBED {
                break;
            }
            let next = attempt();
            if next.2 - next.0 < best.2 - best.0 {
                best = next;
            }
        }
        let (before, reference, after) = best;
        let uncertainty = stats.uncertainty();
        // PTP counts TAI, which has no leap seconds. A grandmaster that counts UTC may have some; GstPtpClock does not tell.
        let leap = LeapNotice::None;
        Some(ReferenceReading { before, reference, after, leap, uncertainty, unsynced })
    }

    fn describe(&self) -> String {
        format!("the PTP grandmaster of domain {}", self.clock.domain())
    }

    fn id(&self) -> [u8; 4] {
        *b"PTP\0"
    }
}

impl Drop for PtpReference {
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            callback.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(delay: u64, mean: u64) -> gst::Structure {
        gst::Structure::builder("GstPtpStatisticsPathDelayMeasured")
            .field("mean-path-delay", delay)
            .field("mean-path-delay-avg", mean)
            .build()
    }

    #[test]
    fn uncertainty_is_the_scatter_of_the_path_delay() {
        gst::init().unwrap();
        let mut stats = PtpStats::default();
        let now = Instant::now();
        assert_eq!(stats.uncertainty(), UNKNOWN);
        stats.handle(&path(45_000, 45_000), now);
        assert_eq!(stats.path_delay, Some(Span::from_micros(45)));
        assert_eq!(stats.uncertainty(), UNKNOWN, "one measurement says nothing of the scatter");
        for _ in 0..200 {
            stats.handle(&path(55_000, 45_000), now);
        }
        let uncertainty = stats.uncertainty();
        assert!((uncertainty - Span::from_micros(10)).abs() < Span::from_micros(1), "{uncertainty:?}");
    }

    #[test]
    fn statistics_say_whether_a_grandmaster_was_found() {
        gst::init().unwrap();
        let mut stats = PtpStats::default();
        let now = Instant::now();
        stats.handle(&gst::Structure::new_empty("GstPtpStatisticsNewDomainFound"), now);
        assert!(stats.found && stats.updated.is_none());
        stats.handle(&gst::Structure::new_empty("GstPtpStatisticsTimeUpdated"), now);
        assert_eq!((stats.updated, stats.updates), (Some(now), 1));
        stats.handle(&gst::Structure::new_empty("SomethingNew"), now);
    }
}
