//! What systemd, the service manager, is told (`sd_notify(3)`). Without it (`NOTIFY_SOCKET` is not set) nothing is told.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::flow::{Flow, Progress};

/// How often it is looked at what is known, without a watchdog.
const PERIOD: Duration = Duration::from_secs(1);

/// Tells systemd what is known of a pipeline.
#[derive(Debug)]
pub struct Manager {
    /// Half of the watchdog's time, so that one late answer does not end the service.
    period: Duration,
    has_watchdog: bool,
    progress: Progress,
    next: Instant,
    ready: bool,
    said: String,
}

impl Manager {
    /// For this process; `now` is when it begins.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let period = watchdog.map_or(PERIOD, |time| (time / 2).min(PERIOD));
        let (progress, said) = (Progress::default(), String::new());
        Self { period, has_watchdog: watchdog.is_some(), progress, next: now, ready: false, said }
    }

    /// How long it may take at most until [`look`](Self::look) is called again.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Looks whether frames flow: ready with the first at every pad, and alive for as long as they go on.
    pub fn look(&mut self, flow: &Flow, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + self.period;
        if !self.progress.has_gone_on(&flow.counts()) {
            return;
        }
        if !self.ready {
            self.ready = true;
            tell(&[NotifyState::Ready]);
            self.status("frames flow");
        }
        if self.has_watchdog {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// What `systemctl status` shows.
    pub fn status(&mut self, text: &str) {
        if self.said != text {
            text.clone_into(&mut self.said);
            tell(&[NotifyState::Status(text)]);
        }
    }

    /// The service ends, and needs this long for its files at most. The watchdog no longer waits for frames, but for that.
    pub fn stopping(&mut self, needs: Duration) {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros(needs + PERIOD))]);
        if self.has_watchdog {
            tell(&[NotifyState::WatchdogUsec(micros(needs + PERIOD))]);
        }
        self.status("ending files");
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        eprintln!("swsync-device: systemd cannot be told {states:?}: {error}");
    }
}
