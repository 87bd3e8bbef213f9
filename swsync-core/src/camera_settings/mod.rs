//! Settings of cameras that an operator gives to the rig: exposure, gain, white balance, focus and others.
//!
//! A [`SettingsChange`] holds from one frame number on, on every device that it is for. The command asks all of them first whether
//! they can do it ([`SettingsRequest::Check`]), gives it ([`SettingsRequest::Set`]), and asks what became of it
//! ([`SettingsRequest::Outcome`]): what each camera really used in that frame, and whether it stayed on the frame grid.
//!
//! Every device keeps the changes of the whole rig ([`SettingsLog`]), also those for other devices: so one that comes back or joins
//! late learns of them from any other. Of several changes of one control the one for the latest instant holds, and of those for
//! the same instant the one with the greatest id.

mod change;
mod control;
mod log;
mod message;
mod value;
mod watch;

pub use change::{Assignments, ChangePart, MAX_CHANGES, SettingsChange};
pub use control::{CameraControl, ControlKind};
pub use log::{EffectiveSetting, LogFull, SettingsLog};
pub use message::{
    CameraReport, ChangeOutcome, ChangeState, ControlRange, ControlRefusal, Readiness, SettingsReply,
    SettingsRequest,
};
pub use value::{ControlValue, ControlValues, ValueError};
pub use watch::{ChangeWatch, PhaseRecord};
