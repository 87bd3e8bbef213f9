//! Readings of the host, taken while somebody asks for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swsync_core::log;
use swsync_core::status::HostStatus;
use swsync_core::time::Span;

use crate::HostRoot;
use crate::cpu::CpuTime;
use crate::throttling::Throttling;
use crate::{board, temperature, wifi};

/// The host is read at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A reading older than this is not told: it would be taken for what is so now.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Longest time that a load is averaged over. Beyond it the processors' time is read anew.
const MAX_LOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Over this a load is averaged where none was read shortly before.
const SHORT_LOAD_INTERVAL: Duration = Duration::from_millis(200);

/// The last reading of the host, read anew by a thread of its own when somebody asks.
#[derive(Debug)]
pub struct HostSampler {
    root: HostRoot,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    last: Option<(HostStatus, Instant)>,
    /// When the last reading was begun.
    begun: Option<Instant>,
    /// A thread reads.
    is_reading: bool,
    cpu: Option<(CpuTime, Instant)>,
    throttle_count: Option<u64>,
}

impl HostSampler {
    /// A sampler that has read nothing yet.
    #[must_use]
    pub fn new(root: HostRoot) -> Self {
        Self { root, shared: Arc::default() }
    }

    /// The last reading with its age, if it is not older than five seconds. Never waits: if the last reading is older than one second
    /// a thread takes another, for whoever asks next.
    #[must_use]
    pub fn latest(&self) -> Option<HostStatus> {
        let mut shared = self.shared.lock();
        let is_due = shared.begun.is_none_or(|begun| begun.elapsed() >= INTERVAL);
        if is_due && !shared.is_reading {
            self.start(&mut shared);
        }
        let (status, at) = shared.last.as_ref()?;
        let age = at.elapsed();
        (age <= MAX_AGE).then(|| HostStatus { age_ns: Span::from(age), ..status.clone() })
    }

    fn start(&self, shared: &mut Shared) {
        let (root, ours) = (self.root.clone(), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name("swsync-host".into());
        // Ends by itself after one reading.
        match thread.spawn(move || read_into(&root, &ours)) {
            Ok(_) => (shared.begun, shared.is_reading) = (Some(Instant::now()), true),
            Err(error) => log::debug!(%error, "the host is not read: there is no thread for it"),
        }
    }
}

fn read_into(root: &HostRoot, shared: &Mutex<Shared>) {
    let (cpu_before, count_before) = {
        let shared = shared.lock();
        (shared.cpu, shared.throttle_count)
    };
    let before = cpu_before.filter(|(_, at)| at.elapsed() <= MAX_LOAD_INTERVAL).map(|(time, _)| time);
    let before = before.or_else(|| {
        let time = CpuTime::read(root)?;
        std::thread::sleep(SHORT_LOAD_INTERVAL);
        Some(time)
    });
    let cpu = CpuTime::read(root);
    let throttling = Throttling::read(root).since(count_before);
    let status = HostStatus {
        age_ns: Span::ZERO,
        board: board::model(root),
        temperature_celsius: temperature::processor_celsius(root),
        throttled: throttling.throttled,
        throttle_count: throttling.count,
        undervoltage: throttling.undervoltage,
        frequency_limit: throttling.frequency_limit,
        cpu_load: cpu.zip(before).and_then(|(now, before)| now.load_since(before)),
        wifi: wifi::links(root),
    };
    let now = Instant::now();
    let mut shared = shared.lock();
    shared.last = Some((status, now));
    shared.cpu = cpu.map(|cpu| (cpu, now));
    shared.throttle_count = throttling.count;
    shared.is_reading = false;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{host, laptop, raspberry_pi_4};

    fn read(root: &HostRoot, shared: &Mutex<Shared>) -> HostStatus {
        read_into(root, shared);
        shared.lock().last.clone().unwrap().0
    }

    #[test]
    fn a_reading_has_all_that_the_host_says() {
        let pi = raspberry_pi_4();
        let shared = Mutex::default();
        let first = read(&pi.root, &shared);
        assert_eq!(first.board.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.5"));
        assert_eq!(first.temperature_celsius, Some(61.835));
        assert_eq!((first.throttled, first.undervoltage), (Some(false), Some(false)));
        assert_eq!(first.cpu_load, None, "no tick has passed on this host");
        assert_eq!(first.wifi[0].signal_dbm, Some(-54));
        pi.write("proc/stat", "cpu  1100 0 520 8260 520 0 0 0 40 0\n");
        assert_eq!(read(&pi.root, &shared).cpu_load, Some(0.3));
    }

    #[test]
    fn a_laptop_that_throttles_between_two_readings_is_throttled() {
        let laptop = laptop();
        let shared = Mutex::default();
        assert_eq!(read(&laptop.root, &shared).throttled, Some(false));
        laptop.write("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "13");
        let second = read(&laptop.root, &shared);
        assert_eq!((second.throttled, second.throttle_count), (Some(true), Some(13)));
        assert_eq!(read(&laptop.root, &shared).throttled, Some(false));
    }

    #[test]
    fn a_host_that_says_nothing_is_not_known() {
        assert_eq!(read(&host(&[]).root, &Mutex::default()), HostStatus::default());
    }

    #[test]
    fn whoever_asks_does_not_wait_and_the_next_gets_the_reading() {
        let pi = raspberry_pi_4();
        let sampler = HostSampler::new(pi.root.clone());
        assert_eq!(sampler.latest(), None);
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = sampler.latest() {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no reading");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.temperature_celsius, Some(61.835));
    }

    #[test]
    fn an_old_reading_is_not_told() {
        let sampler = HostSampler::new(raspberry_pi_4().root.clone());
        let Some(old) = Instant::now().checked_sub(MAX_AGE + Duration::from_secs(1)) else { return };
        sampler.shared.lock().last = Some((HostStatus::default(), old));
        assert_eq!(sampler.latest(), None);
        sampler.shared.lock().last = Some((HostStatus::default(), Instant::now()));
        assert!(sampler.latest().is_some());
    }
}
