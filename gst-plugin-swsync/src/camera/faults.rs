//! A camera with simulated faults: it stalls, vanishes, or loses frames as planned.
//!
//! It wraps another camera, for tests and demonstrations. Only the property `simulated-fault` turns it on.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use swsync_core::time::Span;

use super::controls::{Ranges, Setting};
use super::mailbox::Mailbox;
use super::mode::Mode;
use super::{
    Camera, CameraError, Capabilities, Controls, Frame, StallLimit, StreamRole, StreamSetup, Wakeup,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// No frame comes until the camera is started again; the first `amount` starts do not help.
    Stall,
    /// The camera is gone; the next `amount` attempts to open it fail.
    Vanish,
    /// `amount` frames are lost, and the driver's count shows it.
    Drop,
    /// `amount` frames are lost, and only the frames' times show it.
    Lose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    kind: FaultKind,
    /// Happens after so many frames since the element was started.
    after: u64,
    amount: u64,
}

/// A plan of faults and its state. It outlives the camera, which is opened again after a fault.
///
/// Written `KIND@FRAMES[:AMOUNT]`, several with commas: `stall@30`, `vanish@60:3`, `drop@90:2`, `lose@90:2`.
#[derive(Debug, Default)]
pub struct Faults(Mutex<FaultState>);

#[derive(Debug, Default)]
struct FaultState {
    coming: Vec<Fault>,
    frames: u64,
    failing_openings: u64,
    failing_starts: u64,
    standing_still: bool,
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let coming = parts.map(fault).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Mutex::new(FaultState { coming, ..FaultState::default() })))
    }
}

fn fault(text: &str) -> Result<Fault, String> {
    let wrong = || format!("`{text}` is none of stall@N, vanish@N:TIMES, drop@N:FRAMES, lose@N:FRAMES");
    let (kind, rest) = text.split_once('@').ok_or_else(wrong)?;
    let kind = match kind {
        "stall" => FaultKind::Stall,
        "vanish" => FaultKind::Vanish,
        "drop" => FaultKind::Drop,
        "lose" => FaultKind::Lose,
        _ => return Err(wrong()),
    };
    let (after, amount) = match rest.split_once(':') {
        Some((after, amount)) => (after, amount.parse().map_err(|_| wrong())?),
        None => (rest, u64::from(!matches!(kind, FaultKind::Stall))),
    };
    Ok(Fault { kind, after: after.parse().map_err(|_| wrong())?, amount })
}

impl Faults {
    /// Counts an attempt to open the camera.
    ///
    /// # Errors
    /// [`CameraError::NotFound`] while it has vanished.
    pub fn opening(&self) -> Result<(), CameraError> {
        let mut progress = self.0.lock();
        if progress.failing_openings == 0 {
            return Ok(());
        }
        progress.failing_openings -= 1;
        Err(CameraError::NotFound { wanted: "that vanished".into(), available: "none".into() })
    }

    /// The faults that are due before the next frame.
    fn due(&self) -> Vec<Fault> {
        let mut progress = self.0.lock();
        let frames = progress.frames;
        let (due, coming) = progress.coming.iter().partition(|fault| fault.after <= frames);
        progress.coming = coming;
        due
    }
}

/// See the module's documentation.
pub struct FaultyCamera {
    camera: Box<dyn Camera>,
    faults: Arc<Faults>,
    sleeper: Arc<Mailbox<()>>,
    period: Span,
    stall_limit: StallLimit,
    gone: bool,
    /// Lost frames that the reported count leaves out.
    hidden: u64,
}

impl FaultyCamera {
    /// Wraps `camera`.
    #[must_use]
    pub fn new(camera: Box<dyn Camera>, faults: Arc<Faults>) -> Self {
        let (period, stall_limit) = (Span::ZERO, StallLimit::default());
        Self { camera, faults, sleeper: Arc::default(), period, stall_limit, gone: false, hidden: 0 }
    }

    fn lose(&mut self, frames: u64) -> Result<(), CameraError> {
        for _ in 0..frames {
            self.camera.next_frame()?;
        }
        Ok(())
    }

    fn happen(&mut self, Fault { kind, amount, .. }: Fault) -> Result<(), CameraError> {
        match kind {
            FaultKind::Stall => {
                let mut progress = self.faults.0.lock();
                progress.standing_still = true;
                progress.failing_starts = amount;
                Ok(())
            }
            FaultKind::Vanish => {
                self.faults.0.lock().failing_openings = amount;
                self.gone = true;
                Ok(())
            }
            FaultKind::Drop => self.lose(amount),
            FaultKind::Lose => {
                self.hidden += amount;
                self.lose(amount)
            }
        }
    }
}

impl Camera for FaultyCamera {
    fn caps(&self, role: StreamRole) -> gst::Caps {
        self.camera.caps(role)
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), CameraError> {
        self.camera.set_mode(mode)
    }

    fn fixate(&mut self, role: StreamRole, caps: gst::Caps) -> gst::Caps {
        self.camera.fixate(role, caps)
    }

    fn configure(&mut self, streams: &[StreamSetup]) -> Result<Capabilities, CameraError> {
        let rate = streams.first().and_then(|main| crate::caps::grid_of(&main.caps).ok());
        self.period = rate.map_or(Span::ZERO, |grid| grid.period());
        self.camera.configure(streams)
    }

    fn set_stall_limit(&mut self, stall_limit: StallLimit) {
        self.stall_limit = stall_limit;
        self.camera.set_stall_limit(stall_limit);
    }

    fn control_ranges(&self) -> Ranges {
        self.camera.control_ranges()
    }

    fn control_lead(&self) -> u32 {
        self.camera.control_lead()
    }

    fn stage(&mut self, settings: Vec<Setting>) {
        self.camera.stage(settings);
    }

    fn waits_for_request(&self) -> bool {
        self.camera.waits_for_request()
    }

    fn start(&mut self) -> Result<(), CameraError> {
        {
            let mut progress = self.faults.0.lock();
            match progress.failing_starts.checked_sub(1) {
                Some(left) => progress.failing_starts = left,
                None => progress.standing_still = false,
            }
        }
        self.camera.start()
    }

    fn request(&mut self, controls: Controls) -> Result<(), CameraError> {
        self.camera.request(controls)
    }

    fn next_frame(&mut self) -> Result<Frame, CameraError> {
        for fault in self.faults.due() {
            self.happen(fault)?;
        }
        let camera = "simulated fault".to_owned();
        if self.gone {
            return Err(CameraError::Gone { camera, reason: "it was told to vanish".into() });
        }
        if self.faults.0.lock().standing_still {
            let waited = self.stall_limit.next(self.period);
            let nothing = self.sleeper.pop_until(Instant::now() + waited.to_duration())?;
            debug_assert!(nothing.is_none(), "the sleeper gets no items");
            let hint = "It was told to stand still".to_owned();
            return Err(CameraError::Stalled { camera, waited, hint });
        }
        let mut frame = self.camera.next_frame()?;
        frame.sequence = frame.sequence.saturating_sub(self.hidden);
        self.faults.0.lock().frames += 1;
        Ok(frame)
    }

    fn stop(&mut self) {
        self.camera.stop();
    }

    fn wakeup(&self) -> Arc<dyn Wakeup> {
        Arc::new(CombinedWakeup(self.camera.wakeup(), self.sleeper.clone()))
    }
}

/// Interrupts waits of the camera and of its faults.
struct CombinedWakeup(Arc<dyn Wakeup>, Arc<Mailbox<()>>);

impl Wakeup for CombinedWakeup {
    fn set_flushing(&self, flushing: bool) {
        self.0.set_flushing(flushing);
        self.1.set_flushing(flushing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_parsed_and_malformed_ones_refused() {
        let faults: Faults = "stall@30, vanish@60:3,drop@9".parse().unwrap();
        let coming = faults.0.lock().coming.clone();
        assert_eq!(coming[0], Fault { kind: FaultKind::Stall, after: 30, amount: 0 });
        assert_eq!(coming[1], Fault { kind: FaultKind::Vanish, after: 60, amount: 3 });
        assert_eq!(coming[2], Fault { kind: FaultKind::Drop, after: 9, amount: 1 });
        assert!("".parse::<Faults>().is_ok_and(|none| none.due().is_empty()));
        for nonsense in ["explode@3", "stall", "stall@x", "drop@3:-1", "drop@3:many"] {
            assert!(nonsense.parse::<Faults>().unwrap_err().contains(nonsense));
        }
    }

    #[test]
    fn a_vanished_camera_is_back_after_the_planned_attempts() {
        let faults: Faults = "vanish@0:2".parse().unwrap();
        assert!(faults.opening().is_ok(), "not yet");
        faults.0.lock().failing_openings = faults.due()[0].amount;
        let attempts: Vec<bool> = (0..4).map(|_| faults.opening().is_ok()).collect();
        assert_eq!(attempts, [false, false, true, true]);
    }
}
