//! Sets the cameras of a rig, all at one frame number, and reads what they use.

use std::time::{Duration, Instant};

use serde::Serialize;
use swsync_core::camera_settings::{
    CameraReport, ChangeOutcome, ChangePart, ChangeState, ControlRefusal, Readiness, SettingsChange,
    SettingsReply, SettingsRequest,
};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::message::{MAX_REQUEST, TimeScale, encode};
use swsync_core::name::{DeviceId, Name};
use swsync_core::order::Targets;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::{DeviceReply, Session};

/// Longest wait for a device's answer.
const ANSWER: Duration = Duration::from_secs(2);

/// A change goes out so long before its frame, beside the latency of controls: what a busy WiFi delays a packet.
const LEAD: Duration = Duration::from_millis(250);

/// How much longer the next attempt leaves, if a device got the change too late.
const MORE: u32 = 4;

/// How often devices are asked what became of a change.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A change to make.
#[derive(Debug, Clone)]
pub struct ChangeRequest {
    /// The id of the change, unique in the rig.
    pub id: Name,
    /// What is set where.
    pub parts: Vec<ChangePart>,
    /// Whether devices that can take it are set even if others cannot.
    pub partial: bool,
    /// How long to wait for the confirmations once its frame has come; and for locks that were lost to be back.
    pub patience: Duration,
}

/// A device that takes no part in a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Objection {
    /// The device.
    pub device: DeviceId,
    /// What its camera does not take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<ControlRefusal>,
    /// Why it gives no proper answer, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Some device cannot do it, or does not answer.
    #[error("{} of the devices cannot take this, so nothing was changed on any", .0.len())]
    Refused(Vec<Objection>),
    /// No device takes part.
    #[error("there is no device that this could be set on")]
    Nobody,
    /// Frames of the devices are not numbered alike.
    #[error(
        "the devices have no frame number in common, so nothing was changed: {0}. Set those of one frame rate and time scale at a \
         time (--to)"
    )]
    Differ(String),
    /// Some device did not get it in time, or gave no answer to it. It was taken back everywhere.
    #[error("not every device got it in time, and it was taken back on all: {}", describe(.failed))]
    TakenBack {
        /// The devices, and why.
        failed: Vec<(DeviceId, String)>,
        /// Devices on which it took effect all the same, or which do not confirm that it is taken back.
        stuck: Vec<DeviceId>,
    },
    /// The message would be too long.
    #[error(
        "a change of {got} bytes is longer than the {MAX_REQUEST} that a device reads: set fewer devices at a time"
    )]
    TooLong {
        /// Its length.
        got: usize,
    },
}

fn describe(failed: &[(DeviceId, String)]) -> String {
    failed.iter().map(|(device, why)| format!("{device} ({why})")).collect::<Vec<_>>().join(", ")
}

/// What became of a change on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceChange {
    /// The device.
    pub device: DeviceId,
    /// What it reports; `None`: nothing, for the reason in `problem`.
    pub outcome: Option<ChangeOutcome>,
    /// Why there is no report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// With `partial`: what its camera does not take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<ControlRefusal>,
}

impl DeviceChange {
    /// Whether the change's frame was the first with all of it, and nothing was left out.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let exact = |state: &ChangeState| match state {
            ChangeState::Seen { frame, first, .. } => *first == Some(*frame),
            _ => false,
        };
        self.refusals.is_empty() && self.outcome.as_ref().is_some_and(|outcome| exact(&outcome.state))
    }

    /// Whether the camera stayed on the frame grid, or is back on it.
    #[must_use]
    pub fn is_on_grid(&self) -> bool {
        match self.outcome.as_ref().map(|outcome| &outcome.state) {
            Some(ChangeState::Seen { phase, .. }) => phase.is_kept() || phase.back.is_some(),
            _ => false,
        }
    }
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RigChange {
    /// Its id.
    pub change: Name,
    /// The frame from which on it holds.
    pub frame: FrameNumber,
    /// The instant of that frame.
    pub at_ns: Timestamp<Rig>,
    /// What became of it, by device.
    pub devices: Vec<DeviceChange>,
    /// With `partial`: devices that take no part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<Objection>,
}

impl RigChange {
    /// Whether every device used all of it from the change's frame on.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.objections.is_empty() && self.devices.iter().all(DeviceChange::is_exact)
    }
}

/// What the camera of each device among `targets` was set to, what it uses, and what it takes.
#[must_use]
pub fn read_cameras(session: &Session, targets: &Targets) -> Vec<DeviceReply<CameraReport>> {
    let replies = session.settings(&SettingsRequest::Report, targets, ANSWER);
    let read = |reply| match reply {
        SettingsReply::Report { report } => Ok(*report),
        other => Err(unexpected(&other)),
    };
    replies
        .into_iter()
        .map(|DeviceReply { device, reply }| DeviceReply { device, reply: reply.and_then(read) })
        .collect()
}

/// Makes a change on all devices that it is for, from one frame number on, and waits until each has confirmed it.
///
/// All devices are asked first whether their camera takes it. If one does not, or gives no answer, nothing is changed anywhere, unless
/// the request is `partial`.
///
/// # Errors
/// [`ChangeError`]: nothing was changed.
pub fn change_cameras(session: &Session, request: &ChangeRequest) -> Result<RigChange, ChangeError> {
    let targets = ChangePart::targets_of(&request.parts);
    let check = SettingsRequest::Check { parts: request.parts.clone() };
    // Room for the frame number and the id.
    let got = encode(&check).len() + 512;
    if got > MAX_REQUEST {
        return Err(ChangeError::TooLong { got });
    }
    let mut lead = LEAD;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let agreed = agree(session, &check, &targets, request.partial)?;
        let frame = agreed.frame_after(lead);
        let id = if attempt == 1 { request.id.clone() } else { numbered(&request.id, attempt) };
        let change = SettingsChange {
            change: id,
            frame,
            rate: agreed.rate,
            timescale: agreed.timescale,
            parts: request.parts.clone(),
        };
        match give(session, &change, &agreed, request.partial) {
            Ok(failed) => return Ok(confirm(session, change, agreed, failed, request.patience)),
            Err(ChangeError::TakenBack { stuck, .. }) if stuck.is_empty() && attempt == 1 => lead *= MORE,
            Err(error) => return Err(error),
        }
    }
}

/// `id` with a number at its end.
fn numbered(id: &Name, number: u32) -> Name {
    let text: String = id.as_str().chars().take(60).collect();
    Name::new(format!("{text}-{number}")).unwrap_or_else(|_| id.clone())
}

/// What the devices have in common that take part.
struct Agreed {
    rate: FrameGrid,
    timescale: Option<TimeScale>,
    /// The newest frame of any device, when its answer was there, and how long all answers took.
    newest: FrameNumber,
    at: Instant,
    took: Duration,
    lead: u32,
    devices: Vec<(DeviceId, Vec<ControlRefusal>)>,
    objections: Vec<Objection>,
}

impl Agreed {
    /// A frame that every device can still make, if it gets the change `lead` from now.
    fn frame_after(&self, lead: Duration) -> FrameNumber {
        // The next message may take as long as the last one.
        let ahead = Span::from(self.at.elapsed() + self.took + lead).as_nanos_f64() / self.rate.period_ns();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds of frames")]
        let ahead = ahead.ceil() as u64;
        self.newest.saturating_add(ahead).saturating_add(u64::from(self.lead))
    }
}

/// Asks all `targets` whether they can do it.
fn agree(
    session: &Session,
    check: &SettingsRequest,
    targets: &Targets,
    partial: bool,
) -> Result<Agreed, ChangeError> {
    let begin = Instant::now();
    let (mut ready, mut objections) = (Vec::new(), Vec::new());
    for DeviceReply { device, reply } in session.settings(check, targets, ANSWER) {
        match reply {
            Ok(SettingsReply::Ready { ready: is }) => ready.push((device, is, Vec::new())),
            Ok(SettingsReply::Refused { refusals, ready: Some(is) }) if partial => {
                ready.push((device, is, refusals));
            }
            Ok(SettingsReply::Refused { refusals, .. }) => {
                objections.push(Objection { device, refusals, problem: None });
            }
            Ok(other) => {
                let problem = Some(unexpected(&other));
                objections.push(Objection { device, refusals: Vec::new(), problem });
            }
            Err(why) => objections.push(Objection { device, refusals: Vec::new(), problem: Some(why) }),
        }
    }
    if !objections.is_empty() && (!partial || ready.is_empty()) {
        return Err(ChangeError::Refused(objections));
    }
    let Some((_, first, _)) = ready.first() else { return Err(ChangeError::Nobody) };
    let (rate, timescale) = (first.rate, first.timescale);
    if ready.iter().any(|(_, is, _)| (is.rate, is.timescale) != (rate, timescale)) {
        let texts: Vec<_> = ready.iter().map(|(device, is, _)| numbering(device, is)).collect();
        return Err(ChangeError::Differ(texts.join(", ")));
    }
    Ok(Agreed {
        rate,
        timescale,
        newest: ready.iter().map(|(_, is, _)| is.newest).max().unwrap_or(first.newest),
        at: Instant::now(),
        took: begin.elapsed(),
        lead: ready.iter().map(|(_, is, _)| is.lead).max().unwrap_or(first.lead),
        devices: ready.into_iter().map(|(device, _, refusals)| (device, refusals)).collect(),
        objections,
    })
}

fn numbering(device: &DeviceId, is: &Readiness) -> String {
    let (frames, seconds) = is.rate.rate();
    let scale = is.timescale.map_or_else(|| "unknown".to_owned(), |scale| scale.to_string());
    format!("{device} has {frames}/{seconds} frames a second on time scale {scale}")
}

fn unexpected(reply: &SettingsReply) -> String {
    match reply {
        SettingsReply::Refused { refusals, .. } => {
            refusals.iter().map(|refusal| refusal.why.clone()).collect::<Vec<_>>().join("; ")
        }
        _ => "answered something else than was asked: its swsync is of another version".to_owned(),
    }
}

/// Gives the change to all devices. Returns the devices that do not take it, which with `partial` may be some.
fn give(
    session: &Session,
    change: &SettingsChange,
    agreed: &Agreed,
    partial: bool,
) -> Result<Vec<(DeviceId, String)>, ChangeError> {
    let set = SettingsRequest::Set { change: change.clone(), partial };
    let replies = session.settings(&set, &Targets::All, ANSWER);
    let mut failed = Vec::new();
    for (device, _) in &agreed.devices {
        let reply = replies.iter().find(|reply| reply.device == *device).map(|reply| &reply.reply);
        let why = match reply {
            Some(Ok(SettingsReply::Taken)) => continue,
            Some(Ok(SettingsReply::Late { earliest })) => {
                format!("it came too late for frame {}: {earliest} would have been the first", change.frame)
            }
            Some(Ok(other)) => unexpected(other),
            Some(Err(why)) => why.clone(),
            None => "left the rig before it answered".to_owned(),
        };
        failed.push((device.clone(), why));
    }
    if failed.is_empty() || (partial && failed.len() < agreed.devices.len()) {
        return Ok(failed);
    }
    let withdraw = SettingsRequest::Withdraw { change: change.change.clone() };
    let replies = session.settings(&withdraw, &Targets::All, ANSWER);
    let is_back = |device: &DeviceId| {
        replies.iter().any(|reply| {
            reply.device == *device && matches!(reply.reply, Ok(SettingsReply::Withdrawn { late: false }))
        })
    };
    let stuck = agreed.devices.iter().map(|(device, _)| device).filter(|device| !is_back(device));
    Err(ChangeError::TakenBack { stuck: stuck.cloned().collect(), failed })
}

/// Waits until each device has told what became of the change.
fn confirm(
    session: &Session,
    change: SettingsChange,
    agreed: Agreed,
    failed: Vec<(DeviceId, String)>,
    patience: Duration,
) -> RigChange {
    let until_frame = (agreed.rate.period()
        * i64::try_from(change.frame - agreed.newest).unwrap_or(i64::MAX))
    .to_duration()
    .saturating_sub(agreed.at.elapsed());
    std::thread::sleep(until_frame.min(patience));
    let deadline = Instant::now() + patience;
    let outcome = SettingsRequest::Outcome { change: change.change.clone() };
    let mut waiting: std::collections::BTreeSet<DeviceId> =
        agreed.devices.iter().map(|(d, _)| d.clone()).collect();
    waiting.retain(|device| !failed.iter().any(|(other, _)| other == device));
    let mut known: Vec<DeviceReply<ChangeOutcome>> = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let targets = Targets::Devices(waiting.clone());
        let replies = if waiting.is_empty() {
            Vec::new()
        } else {
            session.settings(&outcome, &targets, left.clamp(ASK_AGAIN, ANSWER))
        };
        for DeviceReply { device, reply } in replies {
            let reply = reply.and_then(|reply| match reply {
                SettingsReply::Outcome { outcome } => Ok(outcome),
                other => Err(unexpected(&other)),
            });
            let is_done = matches!(
                reply.as_ref().map(|outcome| &outcome.state),
                Ok(ChangeState::Seen { done: true, .. }
                    | ChangeState::Unknown
                    | ChangeState::Withdrawn
                    | ChangeState::ForOthers)
            );
            if is_done {
                waiting.remove(&device);
            }
            // An answer is not replaced by the news that there is none any more.
            match known.iter_mut().find(|known| known.device == device) {
                Some(known) if reply.is_ok() => known.reply = reply,
                Some(_) => {}
                None => known.push(DeviceReply { device, reply }),
            }
        }
        if waiting.is_empty() || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(ASK_AGAIN);
    }
    let devices = agreed.devices.into_iter().map(|(device, refusals)| {
        let failed = failed.iter().find(|(other, _)| *other == device).map(|(_, why)| why.clone());
        let reply = known.iter().find(|known| known.device == device).map(|known| known.reply.clone());
        let (outcome, problem) = match (failed, reply) {
            (Some(why), _) | (None, Some(Err(why))) => (None, Some(why)),
            (None, Some(Ok(outcome))) => (Some(outcome), None),
            (None, None) => (None, Some("did not answer".to_owned())),
        };
        DeviceChange { device, outcome, problem, refusals }
    });
    RigChange {
        frame: change.frame,
        at_ns: change.at(),
        devices: devices.collect(),
        change: change.change,
        objections: agreed.objections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(newest: FrameNumber, took: Duration) -> Agreed {
        Agreed {
            rate: FrameGrid::new(100, 1).unwrap(),
            timescale: None,
            newest,
            at: Instant::now(),
            took,
            lead: 4,
            devices: Vec::new(),
            objections: Vec::new(),
        }
    }

    #[test]
    fn the_frame_leaves_time_for_network_and_controls() {
        let agreed = agreed(1_000, Duration::from_millis(50));
        let frame = agreed.frame_after(Duration::from_millis(250));
        // 30 periods, the latency of 4 frames, and what this test takes.
        assert!((1_034..1_134).contains(&frame), "{frame}");
    }

    #[test]
    fn a_change_is_exact_if_its_frame_was_the_first() {
        let device = |frame, first, refusals| {
            let state = ChangeState::Seen {
                frame,
                first,
                used: Default::default(),
                unreported: Vec::new(),
                phase: Default::default(),
                done: true,
            };
            let outcome = Some(ChangeOutcome { change: Name::new("c").unwrap(), state });
            DeviceChange { device: Name::new("d").unwrap(), outcome, problem: None, refusals }
        };
        assert!(device(7, Some(7), Vec::new()).is_exact());
        assert!(!device(7, Some(8), Vec::new()).is_exact() && !device(7, None, Vec::new()).is_exact());
        let refusal = ControlRefusal { control: None, takes: None, why: "x".into() };
        assert!(!device(7, Some(7), vec![refusal]).is_exact());
    }
}
