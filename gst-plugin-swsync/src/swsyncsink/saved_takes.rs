//! What is on the disk of an order: read after a restart, and when an order comes that the queue does not know.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swsync_core::grid::FrameGrid;
use swsync_core::log;
use swsync_core::manifest::{PipelineSettings, SCHEMA, Take};
use swsync_core::order::{
    Fill, FrameOutcome, FrameRun, MAX_DETAILED, NamedFrames, Order, OrderKind, RecordedFrames,
};
use swsync_core::place::{DevicePlace, PlaceChange, PlaceReply};
use swsync_core::time::{Span, Timestamp};
use swsync_files::{DiskActivity, TakeFolder, TakeStore};
use swsync_rig::Reply;

use super::kept_place::KeptPlace;
use crate::order_service::{OutputStorage, SavedTake};

/// A disk that has not answered for so long is reported to hang.
const SLOW: Duration = Duration::from_secs(5);

/// The sink's files, as the order service asks for them.
pub struct SinkStorage {
    pub store: TakeStore,
    pub activity: Arc<DiskActivity>,
    pub place: KeptPlace,
}

impl OutputStorage for SinkStorage {
    fn saved_take(&self, order: &Order) -> SavedTake {
        saved_take(&self.store, order)
    }

    fn problems(&self) -> Vec<String> {
        let slow = self.activity.longest().filter(|(_, how_long)| *how_long >= SLOW);
        let slow = slow.map(|(what, how_long)| {
            format!("the disk has not answered for {} s: {what}", how_long.as_secs())
        });
        slow.into_iter().chain(self.place.problem()).collect()
    }

    fn place(&self) -> DevicePlace {
        self.place.place()
    }

    fn change_place(&self, change: PlaceChange, reply: Reply<PlaceReply>) {
        self.place.change(change, reply);
    }

    fn folder(&self) -> PathBuf {
        self.store.location.root()
    }
}

fn saved_take(store: &TakeStore, order: &Order) -> SavedTake {
    let before = match TakeFolder::described(store, order.id()) {
        Ok(Some(before)) => before,
        Ok(None) => return SavedTake::None,
        // There is a take, but not which order it is of.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            log::warn!(order = %order.id(), %error, "the take of this name cannot be read");
            return SavedTake::OfAnotherOrder;
        }
        // Writing will fail then as well, and the answer will say so.
        Err(error) => {
            log::warn!(order = %order.id(), %error, "cannot find out whether there is a take of this name");
            return SavedTake::None;
        }
    };
    let Ok(mut ordered) = serde_json::from_value::<Order>(before.ordered.clone()) else {
        return SavedTake::OfAnotherOrder;
    };
    if !ordered.is_same(order) {
        return SavedTake::OfAnotherOrder;
    }
    // A take that is complete has ended, whoever stopped it.
    if before.complete && ordered.ends_at(Span::ZERO).is_none() {
        ordered.stop_at(before.grid.instant(before.first.saturating_add(before.count)));
    }
    let frames = saved_frames(store, &ordered);
    SavedTake::OfThisOrder(ordered, frames)
}

/// The frames of `order` that are on the disk, or known to be missing. Finishes or removes what a crash left unfinished.
pub fn saved_frames(store: &TakeStore, order: &Order) -> Vec<FrameRun> {
    read_saved_frames(store, order).unwrap_or_else(|error| {
        log::warn!(order = %order.id(), %error, "what was saved before the restart cannot be read");
        Vec::new()
    })
}

fn read_saved_frames(store: &TakeStore, order: &Order) -> io::Result<Vec<FrameRun>> {
    let folder = TakeFolder::open(store.clone(), blank_take(store, order, None))?;
    let take = folder.take();
    let named = order.unstopped().named(take.grid);
    let is_detailed = order.named(take.grid).count().is_some_and(|count| count <= MAX_DETAILED);
    let mut runs: Vec<_> = removed_frames(take, &named).into_iter().collect();
    runs.extend(missing_frames(take, &named));
    folder.saved(|record| {
        let file = folder.path_of(&record.file).display().to_string();
        let outcome = match is_detailed && !folder.is_video(&record.file) {
            true => FrameOutcome::Saved { file, bytes: record.bytes, info: record.info },
            false => FrameOutcome::Recorded(RecordedFrames::frame(file, record.bytes, &record.info)),
        };
        let run = FrameRun::one(record.info.number, outcome);
        add_run(&mut runs, run, &named, store.max_files.is_some());
        Ok(())
    })?;
    Ok(runs)
}

/// What `take.json` says before anything is known.
pub fn blank_take(store: &TakeStore, order: &Order, named: Option<&NamedFrames>) -> Take {
    let software = env!("CARGO_PKG_VERSION");
    // The grid is unknown until frames come, or the disk says which it was.
    let any_grid = || FrameGrid::new(1, 1).expect("one frame a second is a rate");
    Take {
        schema: SCHEMA,
        order: order.id().clone(),
        ordered: serde_json::to_value(order)
            .expect("an order is a plain struct with string keys, which JSON can hold"),
        device: store.device.clone(),
        place: DevicePlace::default(),
        host: swsync_rig::host_name(),
        software: software.into(),
        camera: None,
        orientation: None,
        maker: None,
        settings: PipelineSettings::default(),
        caps: String::new(),
        grid: named.map_or_else(any_grid, NamedFrames::grid),
        first: named.map_or(0, NamedFrames::first),
        count: named.and_then(NamedFrames::count).unwrap_or(0),
        picture_bytes: None,
        segments: Vec::new(),
        holes: Vec::new(),
        lead_in: 0,
        removed: None,
        fill: match order.kind() {
            OrderKind::Take { fill, .. } => fill,
            OrderKind::Still { .. } | OrderKind::Burst { .. } => Fill::None,
        },
        started_ns: Timestamp::ZERO,
        accepted_ns: None,
        finished_ns: None,
        date: None,
        complete: false,
    }
}

/// The frames of `take` that `max-files` removed before a restart: all named frames before those that stay, also frames that were
/// never saved.
pub fn removed_frames(take: &Take, named: &NamedFrames) -> Option<FrameRun> {
    let removed = take.removed.as_ref()?;
    let count = named.count_in(named.first()..removed.before);
    let (first, last) = (named.next_from(0)?, named.last_before(removed.before)?);
    Some(FrameRun { first, last, count, outcome: FrameOutcome::Missed { why: removed.why.clone() } })
}

/// The frames that `take` says are missing, without those that were removed.
fn missing_frames(take: &Take, named: &NamedFrames) -> Vec<FrameRun> {
    let from = take.removed.as_ref().map_or(0, |removed| removed.before);
    let runs = take.holes.iter().filter(|hole| hole.first >= from).filter_map(|hole| {
        let end = hole.last().saturating_add(1);
        let (first, last) = (named.next_from(hole.first)?, named.last_before(end)?);
        // Of holes that were summed up, it is not known which frames are meant.
        let is_exact = named.count_in(hole.first..end) == hole.count;
        let outcome = FrameOutcome::Missed { why: hole.why.clone() };
        is_exact.then_some(FrameRun { first, last, count: hole.count, outcome })
    });
    runs.collect()
}

/// Adds a frame to the last of `runs`, if it follows that one, or as a run of its own. `is_by_file`: frames of different files
/// are different runs.
fn add_run(runs: &mut Vec<FrameRun>, one: FrameRun, named: &NamedFrames, is_by_file: bool) {
    if let (Some(last), FrameOutcome::Recorded(next)) = (runs.last_mut(), &one.outcome)
        && last.last < one.first
        && named.count_in(last.last + 1..one.first) == 0
        && let FrameOutcome::Recorded(all) = &mut last.outcome
        && (!is_by_file || all.file == next.file)
    {
        all.append(next.clone());
        last.last = one.last;
        last.count += one.count;
    } else {
        runs.push(one);
    }
}
