//! How busy the processors are.

use crate::HostRoot;

/// Processor time since boot, of all processors, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    busy: u64,
    all: u64,
}

impl CpuTime {
    /// Reads it.
    #[must_use]
    pub fn read(root: &HostRoot) -> Option<Self> {
        let text = root.known_text("/proc/stat")?;
        let mut words = text.lines().next()?.split_ascii_whitespace();
        (words.next()? == "cpu").then_some(())?;
        // user nice system idle iowait irq softirq steal; the guests' time that follows is part of user and nice.
        let ticks: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = ticks.get(3)?.saturating_add(ticks.get(4).copied().unwrap_or_default());
        let all = ticks.iter().fold(0, |sum: u64, ticks| sum.saturating_add(*ticks));
        Some(Self { busy: all.saturating_sub(idle), all })
    }

    /// The part of the time since `before` that was not idle, 0 to 1. `None`: no tick has passed.
    #[must_use]
    pub fn load_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        // Idle time may run backwards a little on some kernels.
        let busy = self.busy.saturating_sub(before.busy).min(all);
        let as_f64 = |ticks: u64| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
        Some(as_f64(busy) / as_f64(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{host, raspberry_pi_4};

    #[test]
    fn load_is_the_part_that_was_not_idle() {
        let pi = raspberry_pi_4();
        let before = CpuTime::read(&pi.root).unwrap();
        assert_eq!(before, CpuTime { busy: 1_500, all: 10_000 });
        assert_eq!(before.load_since(before), None);
        // 100 ticks more in user mode, 20 of the system, 260 idle, 20 waiting for the disk.
        pi.write("proc/stat", "cpu  1100 0 520 8260 520 0 0 0 40 0\n");
        let after = CpuTime::read(&pi.root).unwrap();
        assert_eq!(after.load_since(before), Some(0.3));
        assert_eq!(before.load_since(after), None, "time ran backwards: another boot");
    }

    #[test]
    fn what_is_no_stat_is_not_known() {
        for text in ["", "cpu0 1 2 3 4", "cpu  1 2 x 4", "cpu  1 2 3"] {
            assert_eq!(CpuTime::read(&host(&[("proc/stat", text)]).root), None, "{text}");
        }
    }
}
