//! The takes of a whole rig, by order, without fetching any: what each device has, who lacks what, and what was collected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{OrderProgress, Targets};
use swsync_core::rig_date::{RigDate, RigDates};
use swsync_core::share::{CollectedMark, TakeNote, TakeSummary, Unreadable};
use swsync_core::time::{Rig, Timestamp};
use swsync_rig::{Presence, Session};

use crate::{RemoteError, RemoteTakes, in_parallel, pending};

/// How long to wait until all devices of the rig are known.
const SETTLE: Duration = Duration::from_secs(1);

/// How long devices have to tell their status.
const STATUS_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Devices that are asked at once. Lists are short.
const PARALLEL: u8 = 16;

/// The takes of a rig.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RigTakes {
    /// By when they were ordered, the newest last.
    pub orders: Vec<OrderTake>,
    /// Devices that said what they have.
    pub devices: BTreeSet<DeviceId>,
    /// Devices of the rig that did not, and why.
    pub silent: BTreeMap<DeviceId, String>,
    /// What devices have and cannot read as a take.
    pub unreadable: Vec<(DeviceId, Unreadable)>,
}

/// What the rig has of one order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderTake {
    /// The order.
    pub order: OrderId,
    /// What each device has of it.
    pub parts: BTreeMap<DeviceId, TakePart>,
    /// Devices that have nothing of it, although it was for all of the rig. They may have joined later.
    pub lacking: BTreeSet<DeviceId>,
}

/// What one device has of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct TakePart {
    /// As the device lists it. If the device has the order and no frame of it yet, nothing but the order's name and instant.
    pub summary: TakeSummary,
    /// How far the device is, if the order is open there.
    pub progress: Option<OrderProgress>,
}

/// What is known of a part's being collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// Nobody has said so.
    No,
    /// To another host, which this one cannot look at.
    Elsewhere(CollectedMark),
    /// To this host, where it is complete, as far as its lists say.
    Here(CollectedMark),
    /// To this host, where it is no longer.
    Gone(CollectedMark),
    /// The device has a later note than was collected.
    NoteIsNewer(CollectedMark),
}

impl Collection {
    /// Of the part `summary` of `device`, seen from `host`.
    #[must_use]
    pub fn of(summary: &TakeSummary, device: &DeviceId, host: &str) -> Self {
        let Some(mark) = summary.collected.clone() else { return Self::No };
        if mark.by == host && !pending::is_here(Path::new(&mark.folder), &summary.order, device) {
            return Self::Gone(mark);
        }
        match summary.is_collected() {
            Some(true) if mark.by == host => Self::Here(mark),
            Some(true) => Self::Elsewhere(mark),
            Some(false) | None => Self::NoteIsNewer(mark),
        }
    }

    /// Whether there is a copy of all of it, as far as is known.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::Here(_))
    }
}

impl TakePart {
    /// Number of saved frames. `None`: not known.
    #[must_use]
    pub fn saved(&self) -> Option<u64> {
        match &self.progress {
            Some(progress) => Some(progress.saved),
            None => Some(self.summary.named?.saturating_sub(self.summary.missing)),
        }
    }

    /// Number of frames that are missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.progress.as_ref().map_or(self.summary.missing, |progress| progress.lost)
    }

    /// Size of pictures or videos. `None`: not known.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.progress.as_ref().map_or(self.summary.bytes, |progress| Some(progress.bytes))
    }
}

impl OrderTake {
    /// The latest note that any device has; an empty text means that it was removed.
    #[must_use]
    pub fn note(&self) -> Option<&TakeNote> {
        self.parts.values().filter_map(|part| part.summary.note.as_ref()).max_by_key(|note| note.at_ns)
    }

    /// When its first file was begun.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp<Rig>> {
        self.parts.values().map(|part| part.summary.started_ns).min()
    }

    /// What date its time scale stands for: as the take says, or else what the rig has been told since.
    #[must_use]
    pub fn date(&self) -> Option<&RigDate> {
        self.parts.values().filter_map(|part| part.summary.date.as_ref()).max_by_key(|date| date.rig_time_ns)
    }

    /// Whether it is open on any device.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.parts.values().any(|part| part.progress.is_some())
    }

    /// How many devices it is for, of `devices` in the rig.
    #[must_use]
    pub fn targets(&self, devices: usize) -> usize {
        let named = self.parts.values().find_map(|part| part.summary.targets);
        named.map_or(devices, |named| usize::try_from(named).unwrap_or(usize::MAX)).max(self.parts.len())
    }

    /// What orders are sorted by: when the middle one of the devices accepted it. The clock of one may be wrong.
    fn ordered(&self) -> (i64, &OrderId) {
        let when = |part: &TakePart| {
            part.summary.accepted_ns.map_or(part.summary.started_ns.as_nanos(), |at| at.as_nanos())
        };
        let mut when: Vec<_> = self.parts.values().map(when).collect();
        when.sort_unstable();
        (when.get(when.len() / 2).copied().unwrap_or_default(), &self.order)
    }
}

/// What one device said.
#[derive(Debug, Clone, Default)]
struct DeviceList {
    takes: Vec<TakeSummary>,
    unreadable: Vec<Unreadable>,
    open: Vec<OrderProgress>,
}

impl RigTakes {
    /// Asks the devices among `targets`. One that is silent for `patience` is given up.
    #[must_use]
    pub fn list(session: &Session, targets: &Targets, patience: Duration) -> Self {
        let Presence { here, missed } = session.presence(SETTLE);
        let here: Vec<_> = here.into_iter().filter(|device| targets.include(device)).collect();
        let mut silent: BTreeMap<_, _> =
            missed.into_iter().filter(|(device, _)| targets.include(device)).collect();
        if let Targets::Devices(named) = targets {
            let is_unknown = |device: &&DeviceId| !here.contains(device) && !silent.contains_key(*device);
            let unknown: Vec<_> = named.iter().filter(is_unknown).cloned().collect();
            silent.extend(unknown.into_iter().map(|device| (device, "it is not in the rig".to_owned())));
        }
        let (statuses, lists) = std::thread::scope(|scope| {
            let statuses = scope.spawn(|| session.statuses(STATUS_TIMEOUT));
            let lists = in_parallel(PARALLEL, &here, |device| {
                (device.clone(), RemoteTakes::new(session, device.clone(), patience, |_| ()).summaries())
            });
            (statuses.join().expect("it does not panic"), lists)
        });
        let mut dates = RigDates::default();
        let statuses = statuses.into_iter().map(|report| {
            if let Some(date) = report.status.date {
                dates.add(date);
            }
            (report.status.device, report.status.open)
        });
        let mut open: BTreeMap<_, _> = statuses.collect();
        let mut devices = BTreeMap::new();
        for (device, list) in lists {
            match list {
                Ok((takes, unreadable)) => {
                    let open = open.remove(&device).unwrap_or_default();
                    devices.insert(device, DeviceList { takes, unreadable, open });
                }
                Err(RemoteError::NoAnswer { .. }) => {
                    silent.insert(device, "it does not answer for its files".into());
                }
                Err(error) => drop(silent.insert(device, error.to_string())),
            }
        }
        Self::of(devices, silent).dated(&dates)
    }

    /// Takes of before somebody said what date it is have it from the rig.
    fn dated(mut self, dates: &RigDates) -> Self {
        for part in self.orders.iter_mut().flat_map(|take| take.parts.values_mut()) {
            let summary = &mut part.summary;
            let known = summary.timescale.and_then(|timescale| dates.of(timescale));
            summary.date = summary.date.take().or_else(|| known.cloned());
        }
        self
    }

    fn of(lists: BTreeMap<DeviceId, DeviceList>, silent: BTreeMap<DeviceId, String>) -> Self {
        let devices: BTreeSet<_> = lists.keys().cloned().collect();
        let mut orders: BTreeMap<OrderId, OrderTake> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (device, list) in lists {
            unreadable.extend(list.unreadable.into_iter().map(|one| (device.clone(), one)));
            let mut open: BTreeMap<_, _> =
                list.open.into_iter().map(|progress| (progress.order.clone(), progress)).collect();
            let mut parts: Vec<_> = list
                .takes
                .into_iter()
                .map(|summary| TakePart { progress: open.remove(&summary.order), summary })
                .collect();
            parts.extend(open.into_values().map(not_begun));
            for part in parts {
                let order = part.summary.order.clone();
                let take = orders.entry(order.clone()).or_insert_with(|| OrderTake {
                    order,
                    parts: BTreeMap::new(),
                    lacking: BTreeSet::new(),
                });
                take.parts.insert(device.clone(), part);
            }
        }
        let mut orders: Vec<_> = orders.into_values().collect();
        for take in &mut orders {
            let is_for_all = take.parts.values().all(|part| part.summary.targets.is_none());
            let lacking = devices.iter().filter(|device| is_for_all && !take.parts.contains_key(*device));
            take.lacking = lacking.cloned().collect();
        }
        orders.sort_by(|one, other| one.ordered().cmp(&other.ordered()));
        Self { orders, devices, silent, unreadable }
    }

    /// What there is of `order`.
    #[must_use]
    pub fn find(&self, order: &OrderId) -> Option<&OrderTake> {
        self.orders.iter().find(|take| take.order == *order)
    }
}

/// The part of a device that has the order and no frame of it.
fn not_begun(progress: OrderProgress) -> TakePart {
    let summary = TakeSummary {
        order: progress.order.clone(),
        started_ns: progress.at_ns,
        accepted_ns: None,
        complete: false,
        named: progress.named,
        missing: 0,
        bytes: None,
        targets: None,
        note: None,
        collected: None,
        timescale: None,
        date: None,
    };
    TakePart { summary, progress: Some(progress) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::name::Name;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn summary(order: &str, accepted: Option<i64>) -> TakeSummary {
        let json = serde_json::json!({
            "order": order, "started_ns": 5, "accepted_ns": accepted, "complete": true, "named": 10,
            "missing": 2, "bytes": 70,
        });
        serde_json::from_value(json).unwrap()
    }

    fn progress(order: &str) -> OrderProgress {
        let json = serde_json::json!({
            "order": order, "at_ns": 9, "stop_ns": null, "named": null, "saved": 3, "lost": 1, "bytes": 30,
        });
        serde_json::from_value(json).unwrap()
    }

    fn rig(lists: Vec<(&str, Vec<TakeSummary>, Vec<OrderProgress>)>) -> RigTakes {
        let lists = lists
            .into_iter()
            .map(|(device, takes, open)| (name(device), DeviceList { takes, unreadable: Vec::new(), open }));
        RigTakes::of(lists.collect(), BTreeMap::new())
    }

    #[test]
    fn orders_are_sorted_by_when_most_devices_got_them() {
        let rig = rig(vec![
            ("a", vec![summary("one", Some(10)), summary("two", Some(20))], Vec::new()),
            ("b", vec![summary("one", Some(10)), summary("two", Some(20))], Vec::new()),
            ("wrong", vec![summary("one", Some(900)), summary("two", Some(901))], Vec::new()),
        ]);
        assert_eq!(rig.orders.iter().map(|take| take.order.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert!(rig.orders.iter().all(|take| take.lacking.is_empty() && take.targets(3) == 3));
    }

    #[test]
    fn devices_that_lack_an_order_are_named_unless_it_was_for_some() {
        let to_one = TakeSummary { targets: Some(1), ..summary("some", Some(2)) };
        let rig = rig(vec![
            ("a", vec![summary("all", Some(1)), to_one], Vec::new()),
            ("b", Vec::new(), Vec::new()),
        ]);
        let [all, some] = &rig.orders[..] else { panic!("{rig:?}") };
        assert_eq!(
            (all.lacking.iter().map(Name::as_str).collect::<Vec<_>>(), all.targets(2)),
            (vec!["b"], 2)
        );
        assert_eq!((some.lacking.len(), some.targets(2)), (0, 1));
    }

    #[test]
    fn an_order_under_way_counts_what_is_saved_so_far() {
        let begun = TakeSummary { complete: false, named: None, bytes: None, ..summary("t", Some(1)) };
        let rig = rig(vec![
            ("a", vec![begun, summary("before", Some(0))], vec![progress("t")]),
            ("b", Vec::new(), vec![progress("t")]),
        ]);
        let take = rig.find(&name("t")).unwrap();
        assert!(take.is_open() && take.lacking.is_empty());
        for part in take.parts.values() {
            assert_eq!((part.saved(), part.missing(), part.bytes()), (Some(3), 1, Some(30)));
        }
        let before = &rig.find(&name("before")).unwrap().parts[&name("a")];
        assert_eq!((before.saved(), before.missing(), before.bytes()), (Some(8), 2, Some(70)));
        assert!(rig.find(&name("other")).is_none());
    }

    #[test]
    fn the_latest_note_of_any_device_counts() {
        let noted = |text: &str, at: i64| {
            let note = serde_json::from_value(serde_json::json!({"text": text, "at_ns": at, "by": "laptop"}));
            TakeSummary { note: Some(note.unwrap()), ..summary("o", Some(1)) }
        };
        let rig = rig(vec![
            ("a", vec![noted("new", 7)], Vec::new()),
            ("b", vec![noted("old", 6)], Vec::new()),
            ("c", vec![summary("o", Some(1))], Vec::new()),
        ]);
        assert_eq!(rig.orders[0].note().unwrap().text, "new");
    }

    #[test]
    fn takes_of_before_the_date_have_it_from_the_rig() {
        use swsync_core::message::TimeScale;
        let json = serde_json::json!({
            "timescale": 7, "rig_time_ns": 9, "utc_ns": 1_800_000_000_000_000_000_i64, "uncertainty_ns": 5, "by": "a phone",
        });
        let date: RigDate = serde_json::from_value(json).unwrap();
        let mut dates = RigDates::default();
        assert!(dates.add(date.clone()));
        let of = |timescale| TakeSummary { timescale, ..summary("o", Some(1)) };
        let rig = |timescale| rig(vec![("a", vec![of(timescale)], Vec::new())]).dated(&dates);
        assert_eq!(rig(Some(TimeScale(7))).orders[0].date(), Some(&date));
        assert_eq!([None, Some(TimeScale(8))].map(|scale| rig(scale).orders[0].date().is_none()), [true; 2]);
        let own = RigDate { by: "another".into(), ..date };
        let said = TakeSummary { date: Some(own.clone()), ..of(Some(TimeScale(7))) };
        let rig = self::rig(vec![("a", vec![said], Vec::new())]).dated(&dates);
        assert_eq!(rig.orders[0].date(), Some(&own), "what the take says stays");
    }

    #[test]
    fn what_was_collected_here_must_still_be_here() {
        let out = tempfile::tempdir().unwrap();
        let mark: CollectedMark = serde_json::from_value(serde_json::json!({
            "by": "laptop", "folder": out.path(), "at_ns": 1, "files": 3, "sha256": "0a".repeat(32), "keyed": true,
        }))
        .unwrap();
        let part = TakeSummary { collected: Some(mark.clone()), ..summary("o", Some(1)) };
        let of = |part: &TakeSummary, host| Collection::of(part, &name("a"), host);
        assert_eq!(of(&part, "other"), Collection::Elsewhere(mark.clone()));
        assert_eq!(of(&part, "laptop"), Collection::Gone(mark.clone()));
        assert_eq!(of(&summary("o", None), "laptop"), Collection::No);
        let note = serde_json::json!({"text": "x", "at_ns": 5, "by": "y"});
        let noted = TakeSummary { note: Some(serde_json::from_value(note).unwrap()), ..part };
        assert_eq!(of(&noted, "other"), Collection::NoteIsNewer(mark));
        assert!(!of(&noted, "other").is_complete());
    }
}
