//! A queue from a driver's thread to the streaming thread, whose waits can be interrupted.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// The wait was interrupted by `set_flushing(true)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushing;

/// Interrupts a wait from another thread.
pub trait Wakeup: Send + Sync {
    /// While `true`, waits end immediately with [`Flushing`].
    fn set_flushing(&self, flushing: bool);
}

/// A queue whose waits end when an item arrives, the deadline passes, or `set_flushing(true)` is called.
#[derive(Debug)]
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    flushing: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { queue: VecDeque::new(), flushing: false }), changed: Condvar::new() }
    }
}

impl<T: Send> Wakeup for Mailbox<T> {
    fn set_flushing(&self, flushing: bool) {
        self.state.lock().flushing = flushing;
        self.changed.notify_all();
    }
}

impl<T> Mailbox<T> {
    /// Appends `item` and wakes the waiting thread.
    pub fn push(&self, item: T) {
        self.state.lock().queue.push_back(item);
        self.changed.notify_all();
    }

    /// The oldest item. Waits for one until `deadline`, then returns `None`.
    ///
    /// # Errors
    /// [`Flushing`] if interrupted.
    pub fn pop_until(&self, deadline: Instant) -> Result<Option<T>, Flushing> {
        let mut state = self.state.lock();
        let mut passed = false;
        loop {
            if state.flushing {
                return Err(Flushing);
            }
            if let Some(item) = state.queue.pop_front() {
                return Ok(Some(item));
            }
            if passed {
                return Ok(None);
            }
            passed = self.changed.wait_until(&mut state, deadline).timed_out();
        }
    }

    /// Drops all items.
    pub fn clear(&self) {
        self.state.lock().queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(5)
    }
    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn delivers_in_order_then_times_out() {
        let mailbox = Mailbox::default();
        mailbox.push(1);
        mailbox.push(2);
        assert_eq!(mailbox.pop_until(soon()), Ok(Some(1)));
        assert_eq!(mailbox.pop_until(soon()), Ok(Some(2)));
        assert_eq!(mailbox.pop_until(soon()), Ok(None));
    }

    #[test]
    fn flushing_ends_a_wait_from_another_thread() {
        let mailbox = Arc::new(Mailbox::<u8>::default());
        let waiter = {
            let mailbox = mailbox.clone();
            std::thread::spawn(move || mailbox.pop_until(late()))
        };
        mailbox.set_flushing(true);
        assert_eq!(waiter.join().unwrap(), Err(Flushing));
        mailbox.set_flushing(false);
        mailbox.push(3);
        assert_eq!(mailbox.pop_until(late()), Ok(Some(3)));
    }
}
