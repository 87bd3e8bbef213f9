//! Blinks the board's LED, so that a person finds the device.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use swsync_core::identify::MAX_IDENTIFY_MS;
use swsync_core::log;
use swsync_host::HostRoot;
use swsync_host::led::{BlinkingLed, Led, restore_after_crash};

/// How long the LED is on, and then off: faster than what a kernel shows, slow enough for the eye.
const HALF_PERIOD: Duration = Duration::from_millis(125);

/// Blinks the LED while it is asked to. Dropping it ends that, and restores the LED.
#[derive(Debug, Default)]
pub struct Identifier {
    shared: Arc<Shared>,
    /// Started by [`Identifier::blink`], joined by the next one or on drop.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Until when, while the LED blinks, and the LED.
    blinks: Mutex<Option<(Instant, String)>>,
    changed: Condvar,
}

impl Identifier {
    /// Restores the LED first, if a process was killed while it blinked.
    pub fn new() -> Self {
        match restore_after_crash(&HostRoot::from_environment()) {
            Ok(None) => {}
            Ok(Some(led)) => log::info!(led, "an LED that was left blinking is restored"),
            Err(error) => log::warn!(%error, "an LED that was left blinking stays as it is"),
        }
        Self::default()
    }

    /// Blinks the LED for `for_ms` from now on, also if it blinks already; 0 ends it. Returns its name and that time.
    ///
    /// # Errors
    /// Why it cannot, for a person.
    pub fn blink(&self, for_ms: u32) -> Result<(String, u32), String> {
        let for_ms = for_ms.min(MAX_IDENTIFY_MS);
        let until = Instant::now() + Duration::from_millis(for_ms.into());
        let mut thread = self.thread.lock();
        if let Some((end, led)) = &mut *self.shared.blinks.lock() {
            *end = until;
            self.shared.changed.notify_all();
            return Ok((led.clone(), for_ms));
        }
        join(thread.take());
        let led = Led::find(&HostRoot::from_environment()).map_err(|error| error.to_string())?;
        let name = led.name().to_owned();
        if for_ms == 0 {
            return Ok((name, 0));
        }
        let blinking = BlinkingLed::begin(led).map_err(|error| error.to_string())?;
        *self.shared.blinks.lock() = Some((until, name.clone()));
        let shared = Arc::clone(&self.shared);
        let started = std::thread::Builder::new()
            .name("swsync-led".into())
            .spawn(move || run(&shared, &blinking))
            .map_err(|error| format!("it has no thread to blink in: {error}"));
        *thread = Some(started.inspect_err(|_| *self.shared.blinks.lock() = None)?);
        Ok((name, for_ms))
    }
}

impl Drop for Identifier {
    fn drop(&mut self) {
        if let Some((end, _)) = &mut *self.shared.blinks.lock() {
            *end = Instant::now();
        }
        self.shared.changed.notify_all();
        join(self.thread.lock().take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        log::error!("the thread that blinks the LED has panicked");
    }
}

/// Blinks until that is over. The LED is restored when `led` is dropped, right after.
fn run(shared: &Shared, led: &BlinkingLed) {
    let mut on = false;
    let mut blinks = shared.blinks.lock();
    while let Some((until, _)) = &*blinks {
        let now = Instant::now();
        if now >= *until {
            break;
        }
        on = !on;
        if let Err(error) = led.switch(on) {
            log::warn!(%error, "the LED blinks no more");
            break;
        }
        let next = (now + HALF_PERIOD).min(*until);
        shared.changed.wait_until(&mut blinks, next);
    }
    *blinks = None;
}
