//! The faults that a rig is given: a list, to which others can be added. One at a time begins, lasts, and is repaired.

use std::time::Duration;

use swsync_core::time::Span;

use super::args::FaultList;
use super::busy_disk::BusyDisk;
use super::rig::Rig;
use super::timeline::Presence;
use crate::net::{Badness, Counts};
use crate::network::Side;
use crate::split_mix::SplitMix64;

/// A kind of fault.
#[derive(Debug)]
pub struct FaultKind {
    /// Its name, as in `--faults`.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// Whether it takes devices that elect their leader.
    pub needs_election: bool,
    /// Lets it begin. `None`: the rig is not such that it can.
    pub begin: fn(&mut Rig, &mut SplitMix64) -> anyhow::Result<Option<Begun>>,
}

/// A fault that has begun.
pub struct Begun {
    /// What was done, in words.
    pub what: String,
    /// How long until it is repaired.
    pub lasts: Duration,
    pub repair: Repair,
    /// The side that has lost its leader by it.
    pub leaderless: Option<Side>,
    /// These devices are on another time scale than the others, and step when the two meet.
    pub apart: Vec<usize>,
}

/// What ends a fault.
pub enum Repair {
    /// Start a device, whose wall clock is then so far from the host's.
    Start { device: usize, wall: Span },
    /// Let a stopped process go on.
    GoOn { device: usize },
    /// Bring all devices together.
    Join,
    /// Make all links good.
    Links,
    /// Leave the disk alone.
    Disk(BusyDisk),
}

/// All kinds.
pub static FAULTS: [FaultKind; 14] = [
    FaultKind {
        name: "kill",
        about: "a client is killed, and started with another wall clock",
        needs_election: false,
        begin: kill,
    },
    FaultKind {
        name: "stop",
        about: "a client's process is stopped for seconds",
        needs_election: false,
        begin: stop,
    },
    FaultKind {
        name: "leave",
        about: "a client ends in good order, and is started again",
        needs_election: false,
        begin: leave,
    },
    FaultKind {
        name: "leader-killed",
        about: "the leader is killed, and started with another wall clock",
        needs_election: false,
        begin: leader_killed,
    },
    FaultKind {
        name: "leader-stopped",
        about: "the leader's process is stopped for seconds",
        needs_election: false,
        begin: leader_stopped,
    },
    FaultKind {
        name: "leader-left",
        about: "the leader ends in good order, and is started with another wall clock",
        needs_election: false,
        begin: leader_left,
    },
    FaultKind {
        name: "partition",
        about: "the network is cut in two, anywhere",
        needs_election: false,
        begin: partition,
    },
    FaultKind {
        name: "isolated",
        about: "the leader alone is cut off",
        needs_election: false,
        begin: isolated,
    },
    FaultKind {
        name: "apart",
        about: "a part is cut off, loses all its devices, and begins a time scale of its own",
        needs_election: true,
        begin: apart,
    },
    FaultKind {
        name: "lossy",
        about: "every link loses 10 % of its frames",
        needs_election: false,
        begin: lossy,
    },
    FaultKind {
        name: "stalls",
        about: "every link stalls for 200 ms, again and again",
        needs_election: false,
        begin: stalls,
    },
    FaultKind {
        name: "hub-killed",
        about: "the device with most connections is killed, and started with another wall clock",
        needs_election: false,
        begin: hub_killed,
    },
    FaultKind {
        name: "hub-lost",
        about: "the device with most connections is cut off",
        needs_election: false,
        begin: hub_lost,
    },
    FaultKind {
        name: "slow-disk",
        about: "other programs write to the disk of all devices as fast as they can",
        needs_election: false,
        begin: slow_disk,
    },
];

/// The faults that `text` names.
pub fn parse(text: &str) -> Result<FaultList, String> {
    match text {
        "all" => return Ok(FaultList(FAULTS.iter().collect())),
        "none" => return Ok(FaultList(Vec::new())),
        _ => {}
    }
    let find = |name: &str| FAULTS.iter().find(|kind| kind.name == name.trim());
    let named = text.split(',').map(|name| find(name).ok_or_else(|| unknown(name)));
    named.collect::<Result<_, _>>().map(FaultList)
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = FAULTS.iter().map(|kind| format!("  {}: {}", kind.name, kind.about)).collect();
    format!("there is no fault {name:?}. There are all, none, and\n{}", known.join("\n"))
}

/// Repairs a fault. What there is to say of it now, if anything.
pub fn repair(rig: &mut Rig, repair: Repair) -> anyhow::Result<Option<String>> {
    match repair {
        Repair::Start { device, wall } => rig.start(device, wall)?,
        Repair::GoOn { device } => rig.go_on(device)?,
        Repair::Join => {
            // It leaves before the devices do: a connection cut in the middle would be waited for.
            rig.end_observer(Side::Apart);
            let apart: Vec<_> =
                (0..rig.devices.len()).filter(|device| rig.side(*device) == Side::Apart).collect();
            rig.move_to(Side::Main, &apart)?;
        }
        Repair::Links => {
            let said = |Counts { passed, lost, held }| {
                let all = passed + lost;
                format!("{lost} of {all} frames lost, {held} held")
            };
            return Ok(rig.repair_links()?.map(said));
        }
        Repair::Disk(busy) => drop(busy),
    }
    Ok(None)
}

/// A wall clock as a board may have it when it boots, minus the host's.
pub fn wall(random: &mut SplitMix64) -> Span {
    /// Seconds: an hour back, about 1970 and 2040, and some that are nearly right.
    const WALLS: [i64; 7] = [0, -3_600, -1_790_000_000, 440_000_000, 12, -12, 86_400];
    Span::from_secs(*random.choose(&WALLS))
}

fn seconds(random: &mut SplitMix64, from: u64, to: u64) -> Duration {
    Duration::from_millis(1_000 * from + random.below(1_000 * (to - from)))
}

impl SplitMix64 {
    /// One of `items`, of which there is one at least.
    fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(items.len() as u64)).expect("less than a length");
        &items[index]
    }
}

/// The devices that run on the main side, and do not lead.
fn clients(rig: &Rig) -> Vec<usize> {
    let leader = rig.leader(Side::Main);
    let is_up = |device: &usize| rig.timeline.now(*device) == Presence::Up(Side::Main);
    (0..rig.devices.len()).filter(|device| is_up(device) && Some(*device) != leader).collect()
}

fn client(rig: &Rig, random: &mut SplitMix64) -> Option<usize> {
    let clients = clients(rig);
    (clients.len() > 1).then(|| *random.choose(&clients))
}

fn fault(what: String, lasts: Duration, repair: Repair, leaderless: Option<Side>) -> Option<Begun> {
    Some(Begun { what, lasts, repair, leaderless, apart: Vec::new() })
}

fn describe(wall: Span) -> String {
    format!("wall clock {:+.0} s", wall.as_secs_f64())
}

fn kill_one(
    rig: &mut Rig,
    random: &mut SplitMix64,
    device: usize,
    led: Option<Side>,
) -> anyhow::Result<Option<Begun>> {
    let wall = wall(random);
    rig.kill(device)?;
    let what = format!("{}, {}", rig.devices[device].name(), describe(wall));
    Ok(fault(what, seconds(random, 1, 8), Repair::Start { device, wall }, led))
}

fn stop_one(
    rig: &mut Rig,
    random: &mut SplitMix64,
    device: usize,
    led: Option<Side>,
) -> anyhow::Result<Option<Begun>> {
    let lasts = seconds(random, 1, 12);
    rig.stop(device)?;
    Ok(fault(rig.devices[device].name(), lasts, Repair::GoOn { device }, led))
}

fn leave_one(
    rig: &mut Rig,
    random: &mut SplitMix64,
    device: usize,
    led: Option<Side>,
) -> anyhow::Result<Option<Begun>> {
    let wall = wall(random);
    rig.interrupt(device)?;
    let what = format!("{}, {}", rig.devices[device].name(), describe(wall));
    Ok(fault(what, seconds(random, 3, 8), Repair::Start { device, wall }, led))
}

fn kill(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(device) = client(rig, random) else { return Ok(None) };
    kill_one(rig, random, device, None)
}

fn stop(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(device) = client(rig, random) else { return Ok(None) };
    stop_one(rig, random, device, None)
}

fn leave(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(device) = client(rig, random) else { return Ok(None) };
    leave_one(rig, random, device, None)
}

fn leader_killed(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(device) = rig.leader(Side::Main) else { return Ok(None) };
    kill_one(rig, random, device, Some(Side::Main))
}

fn leader_stopped(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(device) = rig.leader(Side::Main) else { return Ok(None) };
    // Long enough that the others have to notice.
    let begun = stop_one(rig, random, device, Some(Side::Main))?;
    Ok(begun.map(|begun| Begun { lasts: begun.lasts + Duration::from_secs(4), ..begun }))
}

fn leader_left(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(device) = rig.leader(Side::Main) else { return Ok(None) };
    leave_one(rig, random, device, Some(Side::Main))
}

/// Cuts `devices` off, which are up.
fn cut_off(rig: &mut Rig, random: &mut SplitMix64, mut devices: Vec<usize>) -> anyhow::Result<Option<Begun>> {
    devices.sort_unstable();
    let leader = rig.leader(Side::Main);
    rig.move_to(Side::Apart, &devices)?;
    rig.observe(Side::Apart)?;
    let lost = if leader.is_some_and(|leader| devices.contains(&leader)) { Side::Main } else { Side::Apart };
    let lasts = seconds(random, 5, 25);
    Ok(fault(list(&devices), lasts, Repair::Join, leader.map(|_| lost)))
}

fn list(devices: &[usize]) -> String {
    let names: Vec<_> = devices.iter().map(ToString::to_string).collect();
    format!("devices {}", names.join(" "))
}

/// A part of `devices`: one at least, and not all.
fn part_of(mut devices: Vec<usize>, random: &mut SplitMix64) -> Option<Vec<usize>> {
    let most = u64::try_from(devices.len()).ok()?.checked_sub(1).filter(|most| *most > 0)?;
    let count = usize::try_from(1 + random.below(most)).ok()?;
    while devices.len() > count {
        let index = usize::try_from(random.below(devices.len() as u64)).ok()?;
        devices.swap_remove(index);
    }
    Some(devices)
}

fn partition(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let up = clients(rig).into_iter().chain(rig.leader(Side::Main)).collect();
    let Some(part) = part_of(up, random) else { return Ok(None) };
    cut_off(rig, random, part)
}

fn isolated(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(leader) = rig.leader(Side::Main) else { return Ok(None) };
    cut_off(rig, random, vec![leader])
}

fn apart(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some(part) = part_of(clients(rig), random) else { return Ok(None) };
    for device in &part {
        rig.kill(*device)?;
    }
    let begun = cut_off(rig, random, part.clone())?;
    for device in &part {
        rig.start(*device, wall(random))?;
    }
    // Long enough for them to begin a time scale and take orders in it.
    Ok(begun.map(|begun| Begun {
        lasts: begun.lasts + Duration::from_secs(10),
        leaderless: None,
        apart: part,
        ..begun
    }))
}

/// Makes every link bad.
fn bad_links(
    rig: &mut Rig,
    random: &mut SplitMix64,
    badness: Badness,
    what: &str,
) -> anyhow::Result<Option<Begun>> {
    rig.make_links_bad(badness, random.below(u64::MAX))?;
    Ok(fault(what.to_owned(), seconds(random, 8, 25), Repair::Links, None))
}

fn lossy(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    bad_links(rig, random, Badness::LOSSY, "10 % of the frames, each way")
}

fn stalls(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    bad_links(rig, random, Badness::STALLING, "200 ms, a second apart on average")
}

/// The side that has no leader without `device`.
fn led_by(rig: &Rig, device: usize) -> Option<Side> {
    (rig.leader(Side::Main) == Some(device)).then_some(Side::Main)
}

fn hub_killed(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some((device, connections)) = rig.hub()? else { return Ok(None) };
    let led = led_by(rig, device);
    let begun = kill_one(rig, random, device, led)?;
    Ok(begun.map(|begun| Begun { what: format!("{}, {connections} connections", begun.what), ..begun }))
}

fn hub_lost(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let Some((device, connections)) = rig.hub()? else { return Ok(None) };
    let led = led_by(rig, device);
    let begun = cut_off(rig, random, vec![device])?;
    let what = |begun: &Begun| format!("{}, {connections} connections", begun.what);
    Ok(begun.map(|begun| Begun { what: what(&begun), leaderless: led, ..begun }))
}

fn slow_disk(rig: &mut Rig, random: &mut SplitMix64) -> anyhow::Result<Option<Begun>> {
    let busy = BusyDisk::new(&rig.setup.out)?;
    Ok(fault("of all devices".to_owned(), seconds(random, 5, 15), Repair::Disk(busy), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_by_name() {
        let names = |text| parse(text).map(|list| list.0.iter().map(|kind| kind.name).collect::<Vec<_>>());
        assert_eq!(names("stop,partition").unwrap(), ["stop", "partition"]);
        assert_eq!(names("all").unwrap().len(), FAULTS.len());
        assert!(names("none").unwrap().is_empty());
        assert!(names("kill,flood").unwrap_err().contains("leader-stopped:"));
    }

    #[test]
    fn a_part_is_neither_nothing_nor_all() {
        let mut random = SplitMix64::new(1);
        for count in 2..8 {
            for _ in 0..50 {
                let part = part_of((0..count).collect(), &mut random).unwrap();
                assert!((1..count).contains(&part.len()), "{part:?} of {count}");
            }
        }
        assert_eq!(part_of(vec![3], &mut random), None);
    }
}
