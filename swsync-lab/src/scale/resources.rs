//! What a process costs, as the kernel counts it: /proc.

use anyhow::Context;

use crate::network;

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in ticks of [`tick_rate`].
    pub ticks: u64,
    /// Resident memory, with the pages of programs and libraries that processes share, in kB.
    pub resident_kb: u64,
    /// Of it the process's own: what it has allocated.
    pub own_kb: u64,
}

impl Usage {
    /// Of the process `pid`.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).context(path)
        };
        Self::parse(&read("stat")?, &read("status")?).context("/proc has another form than expected")
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything. User and system time are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields.split(' ').skip(11).map_while(|field| field.parse::<u64>().ok());
        let ticks = times.next()? + times.next()?;
        let kb = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some(Self { ticks, resident_kb: kb("VmRSS:")?, own_kb: kb("RssAnon:")? })
    }
}

/// Ticks in a second.
pub fn tick_rate() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// Frames that came from the namespaces into the bridge, all together, by the kernel's count.
///
/// # Errors
/// There is no such count.
pub fn frames_from_nodes(nodes: usize) -> anyhow::Result<u64> {
    let table = std::fs::read_to_string("/proc/self/net/dev")?;
    let ports: Vec<_> = (0..nodes).map(network::port).collect();
    let received = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let is_port = ports.iter().any(|port| port == name.trim());
        counters.split_whitespace().nth(1).filter(|_| is_port)?.parse::<u64>().ok()
    };
    Ok(table.lines().filter_map(received).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1000 1 2";
        let status = "Name:\tx\nVmRSS:\t   25000 kB\nRssAnon:\t   9000 kB\nThreads:\t9\n";
        let usage = Usage { ticks: 300, resident_kb: 25_000, own_kb: 9_000 };
        assert_eq!(Usage::parse(stat, status), Some(usage));
        assert_eq!(Usage::parse(stat, "Name:\tx\n"), None);
        assert!(Usage::of(std::process::id()).unwrap().resident_kb > 100);
    }
}
