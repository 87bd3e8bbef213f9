//! Waits on a clock that is corrected while they last.
//!
//! `GstSystemClock` takes what a wait has left as time of `CLOCK_MONOTONIC`, once: a clock that
//! meanwhile runs faster or is stepped forward is noticed only when that time is over (GStreamer 1.26,
//! `gst_system_clock_id_wait_jitter_unlocked`). Here a long wait is approached in parts of nine tenths of
//! what is left, each measured anew, so that rate errors do not add up, and a step wakes all waits.

use std::thread::JoinHandle;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::{Condvar, Mutex};

use super::SwsyncClock;

/// The last part of a wait, which is not divided any more. A rate error of 400 ppm and a slew of 500 ppm make an error of
/// 9 us.
pub const LAST: gst::ClockTime = gst::ClockTime::from_mseconds(10);

/// Pause before a clock that stands still, after it was ahead, is looked at again.
const HELD: Duration = Duration::from_micros(50);

/// The waits on one clock: threads in synchronous waits, and the entries of asynchronous ones.
#[derive(Debug, Default)]
pub struct Waits {
    state: Mutex<State>,
    /// Notified with each change of the state, when the clock was stepped, and when an entry is
    /// unscheduled.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The asynchronous waits, in no order: there are few.
    entries: Vec<gst::ClockId>,
    thread: Option<JoinHandle<()>>,
    stopping: bool,
    /// Counts notifications: a thread that released the lock sees that it missed one.
    generation: u64,
}

/// What the thread of the asynchronous waits does next.
enum Next {
    /// Sleep until something changes, at the latest when this time is over.
    Sleep(Option<Duration>),
    Fire(gst::ClockId),
}

fn unscheduled(id: &gst::ClockId) -> bool {
    id.status().load() == gst::ClockReturn::Unscheduled
}

/// How long to sleep with `left` to go; a local second is not one of the clock's.
fn part_of(left: gst::ClockTime) -> Duration {
    let part = if left > LAST { left / 10 * 9 } else { left };
    Duration::from_nanos(part.nseconds())
}

impl Waits {
    /// Has all waits look at the clock again: it was stepped, or an entry unscheduled.
    pub fn recheck(&self) {
        self.change(|_| ());
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        state.generation += 1;
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    /// Waits until no more than `least` is left of `id`, or it is unscheduled. Returns whether there was anything
    /// to wait for.
    pub fn approach(&self, clock: &SwsyncClock, id: &gst::ClockId, least: gst::ClockTime) -> bool {
        let mut waited = false;
        let mut state = self.state.lock();
        loop {
            let left = id.time().saturating_sub(clock.time());
            if left <= least || unscheduled(id) {
                return waited;
            }
            waited = true;
            let pause = part_of(left).max(HELD);
            self.changed.wait_for(&mut state, pause);
        }
    }

    /// Adds an asynchronous wait. The first starts their thread.
    pub fn add(&self, clock: &SwsyncClock, id: &gst::ClockId) -> std::io::Result<()> {
        self.change(|state| {
            if state.thread.is_none() {
                let weak = clock.downgrade();
                let thread = std::thread::Builder::new().name("swsync-waits".into());
                state.thread = Some(thread.spawn(move || serve(&weak))?);
            }
            state.entries.push(id.clone());
            Ok(())
        })
    }

    /// Ends the thread, and joins it unless it is the caller.
    pub fn stop(&self) {
        let thread = self.change(|state| {
            state.stopping = true;
            state.entries.clear();
            state.thread.take()
        });
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic in a callback has been reported where it occurred.
            let _ended = thread.join();
        }
    }

    /// What to do next, by the state of which generation; `None`: end.
    fn next(&self, clock: &SwsyncClock) -> Option<(Next, u64)> {
        let mut state = self.state.lock();
        if state.stopping {
            return None;
        }
        state.entries.retain(|id| !unscheduled(id));
        let first = state.entries.iter().enumerate().min_by_key(|(_, id)| id.time());
        let next = match first.map(|(index, id)| (index, id.time().saturating_sub(clock.time()))) {
            None => Next::Sleep(None),
            Some((_, left)) if !left.is_zero() => Next::Sleep(Some(part_of(left).max(HELD))),
            Some((index, _)) if state.entries[index].type_() == gst::ClockEntryType::Periodic => {
                Next::Fire(state.entries[index].clone())
            }
            Some((index, _)) => Next::Fire(state.entries.swap_remove(index)),
        };
        Some((next, state.generation))
    }

    fn sleep(&self, time: Option<Duration>, generation: u64) {
        let mut state = self.state.lock();
        if state.generation != generation {
            return;
        }
        // It may wake early: the caller looks again.
        match time {
            Some(time) => drop(self.changed.wait_for(&mut state, time)),
            None => self.changed.wait(&mut state),
        }
    }
}

/// The thread of the asynchronous waits. It ends when the clock is dropped, so it holds a reference only while it
/// looks at the clock; that may be the last one.
fn serve(clock: &glib::WeakRef<SwsyncClock>) {
    let Some(waits) = clock.upgrade().map(|clock| clock.imp().waits.clone()) else { return };
    while let Some(clock) = clock.upgrade() {
        let Some((next, generation)) = waits.next(&clock) else { return };
        match next {
            // Moves a periodic entry on to its next time.
            Next::Fire(id) => clock.imp().wake_id(&id),
            Next::Sleep(time) => {
                drop(clock);
                waits.sleep(time, generation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a wait for `left` is late by on a clock that runs at `ppm` against the local one, in ns, and how
    /// often it looks at the clock.
    fn late(left: gst::ClockTime, ppm: i64) -> (i64, u32) {
        let mut left = i64::try_from(left.nseconds()).unwrap();
        let mut looks = 0;
        while left > 0 {
            let slept = part_of(gst::ClockTime::from_nseconds(left.unsigned_abs())).as_nanos();
            let slept = i64::try_from(slept).unwrap();
            left -= slept + slept / 1_000_000 * ppm + slept % 1_000_000 * ppm / 1_000_000;
            looks += 1;
        }
        (-left, looks)
    }

    #[test]
    fn no_rate_error_adds_up_over_a_long_wait() {
        for seconds in [1, 10, 3600] {
            for ppm in [-900, -40, 0, 40, 900] {
                let (late, looks) = late(gst::ClockTime::from_seconds(seconds), ppm);
                // 900 ppm of the last 10 ms.
                assert!(late <= 9_000, "{seconds} s at {ppm} ppm: {late} ns");
                assert!(looks < 12, "{looks}");
            }
        }
    }
}
