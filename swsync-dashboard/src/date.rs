//! What date it is, as an operator's browser says it.
//!
//! Devices without a clock chip and without a network begin at some old date, and rig time with them. The phone of whoever stands in
//! front of them knows better. The page asks for rig time, and answers with its own clock at once: that was read between the two
//! instants of rig time that the server knows, so half of what lies between is what the date may be off. No frame is moved by it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use swsync_cli::documents::NotNoted;
use swsync_client::{NoRigTime, RigSnapshot};
use swsync_core::message::TimeScale;
use swsync_core::name::DeviceId;
use swsync_core::rig_date::RigDate;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::api::Dash;
use crate::failure::Failure;
use crate::json::{Body, Json};
use crate::state::{Dashboard, blocking};

/// How long devices have to note a date.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time from rig time's being read to the browser's answer. A date that is worse is of no use for pictures.
const LONGEST: Span = Span::from_secs(2);
/// Steps of a browser's clock.
const TICK: Span = Span::from_millis(1);

/// What date rig time stands for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DateRow {
    /// The date minus rig time, in milliseconds.
    pub ahead_ms: i64,
    /// What the date may be off because of the way between browser and rig, in milliseconds. How right the browser's clock was,
    /// nobody knows here.
    pub uncertainty_ms: f64,
    /// Who gave it.
    pub by: String,
    /// When, in milliseconds since 1970, UTC, by the date itself.
    pub given_ms: i64,
}

impl From<&RigDate> for DateRow {
    fn from(date: &RigDate) -> Self {
        Self {
            ahead_ms: date.ahead().as_nanos() / 1_000_000,
            uncertainty_ms: (date.uncertainty_ns.as_secs_f64() * 1e4).ceil() / 10.0,
            by: date.by.clone(),
            given_ms: date.utc_ns.as_nanos() / 1_000_000,
        }
    }
}

/// Rig time, and its date.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DateDocument {
    /// Rig time now, in microseconds since 1970.
    pub rig_time_us: i64,
    /// What date it stands for. Null: nobody has said that it is another than its own.
    pub date: Option<DateRow>,
}

/// What date it is.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DateRequest {
    /// `rig_time_us` of the answer to `GET /api/v1/date`, which the clock was read after.
    pub after_rig_time_us: i64,
    /// What the clock said then, in milliseconds since 1970, UTC.
    pub utc_ms: i64,
}

/// What became of a date.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DateGivenDocument {
    /// The date that counts now.
    pub date: DateRow,
    /// Devices that have noted it.
    pub devices: Vec<DeviceId>,
    /// Devices that have not, and why. They learn it from the others if they come back.
    pub without: Vec<NotNoted>,
}

/// Rig time at one moment.
struct Reading {
    timescale: TimeScale,
    now: Timestamp<Rig>,
    slack: Span,
}

impl Reading {
    fn of(snapshot: &RigSnapshot) -> Option<Self> {
        let (timescale, now) = (snapshot.common.timescale()?, snapshot.time()?);
        Some(Self { timescale, now, slack: snapshot.time_slack()? })
    }

    /// The date that `request` says, by `by`.
    fn date(&self, request: &DateRequest, by: String) -> Result<RigDate, Failure> {
        let after = request.after_rig_time_us.saturating_mul(1_000);
        let between = Span::from_nanos(self.now.as_nanos().saturating_sub(after));
        if between > LONGEST || between < Span::ZERO - self.slack - TICK {
            return Err(Failure::new(
                StatusCode::CONFLICT,
                format!(
                    "the date came {:.1} s after rig time was asked for, and {} s are the most",
                    between.as_secs_f64(),
                    LONGEST.as_secs_f64()
                ),
                "ask for GET /api/v1/date and answer at once; on a slow network try again",
            ));
        }
        let half = Span::from_nanos(between.as_nanos().max(0)) / 2;
        let date = RigDate {
            timescale: self.timescale,
            rig_time_ns: self.now - half,
            utc_ns: Timestamp::from_nanos(request.utc_ms.saturating_mul(1_000_000)),
            uncertainty_ns: half + self.slack + TICK,
            by,
        };
        match date.check() {
            Ok(()) => Ok(date),
            Err(error) => {
                Err(Failure::usage(error.to_string(), "set the date of the phone or computer that gives it"))
            }
        }
    }
}

impl Dashboard {
    /// Rig time, from what devices said last.
    fn reading(&self) -> Result<(Reading, Option<RigDate>), Failure> {
        let live = self.live.lock();
        let snapshot = live.snapshot.as_ref();
        let reading =
            snapshot.and_then(Reading::of).ok_or_else(|| Failure::from(anyhow::Error::from(NoRigTime)))?;
        Ok((reading, snapshot.and_then(RigSnapshot::date).cloned()))
    }
}

/// `GET /api/v1/date`.
pub async fn get(State(dashboard): Dash) -> Result<Json<DateDocument>, Failure> {
    let (reading, date) = dashboard.reading()?;
    let rig_time_us = reading.now.as_nanos() / 1_000;
    Ok(Json(DateDocument { rig_time_us, date: date.as_ref().map(Into::into) }))
}

/// `POST /api/v1/date`.
pub async fn give(
    State(dashboard): Dash,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(request): Body<DateRequest>,
) -> Result<Json<DateGivenDocument>, Failure> {
    let (reading, _) = dashboard.reading()?;
    let date = reading.date(&request, format!("browser at {}", from.ip()))?;
    let rig = dashboard.rig()?;
    blocking(move || {
        let (mut devices, mut without, mut counts) = (Vec::new(), Vec::new(), date.clone());
        for answer in rig.session().give_date(&date, PATIENCE) {
            match answer.reply {
                Ok(reply) => {
                    devices.push(answer.device);
                    counts = reply.date;
                }
                Err(why) => without.push(NotNoted { device: answer.device, why }),
            }
        }
        Ok(Json(DateGivenDocument { date: (&counts).into(), devices, without }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIG: i64 = 1_500_000_000_000_000_000;
    const UTC_MS: i64 = 1_796_000_000_000;

    fn reading() -> Reading {
        Reading { timescale: TimeScale(7), now: Timestamp::from_nanos(RIG), slack: Span::from_millis(3) }
    }

    fn date(after_rig_time_us: i64, utc_ms: i64) -> Result<RigDate, u16> {
        let request = DateRequest { after_rig_time_us, utc_ms };
        reading().date(&request, "browser at ::1".into()).map_err(|failure| match failure {
            Failure::Error(status, _) => status.as_u16(),
            Failure::Conflict(_) => 0,
        })
    }

    #[test]
    fn the_clock_was_read_between_question_and_answer() {
        let of = date(RIG / 1_000 - 40_000, UTC_MS).unwrap();
        assert_eq!(of.rig_time_ns, Timestamp::from_nanos(RIG) - Span::from_millis(20));
        assert_eq!((of.uncertainty_ns, of.utc_ns.as_nanos()), (Span::from_millis(24), UTC_MS * 1_000_000));
        let row = DateRow::from(&of);
        assert_eq!((row.uncertainty_ms, row.given_ms), (24.0, UTC_MS));
        assert_eq!(row.ahead_ms, UTC_MS - RIG / 1_000_000 + 20);
        // Rig time was read anew meanwhile, from another device: it may lie a little before.
        assert_eq!(date(RIG / 1_000 + 2_000, UTC_MS).unwrap().uncertainty_ns, Span::from_millis(4));
    }

    #[test]
    fn what_came_late_or_is_no_date_is_refused() {
        assert_eq!(date(RIG / 1_000 - 2_100_000, UTC_MS), Err(409));
        assert_eq!(date(RIG / 1_000 + 10_000, UTC_MS), Err(409));
        assert_eq!([i64::MIN, i64::MAX].map(|after| date(after, UTC_MS)), [Err(409), Err(409)]);
        let now = RIG / 1_000;
        assert_eq!([0, i64::MAX, i64::MIN].map(|utc| date(now, utc)), [Err(400), Err(400), Err(400)]);
    }
}
