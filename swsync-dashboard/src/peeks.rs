//! Looks at devices: live pictures out of their rings, and the exchanges of their clocks. Nothing is asked unless a page asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use swsync_client::{PeekError, Rig, in_parallel};
use swsync_core::exchanges::ClockExchange;
use swsync_core::name::DeviceId;
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest, WIDTHS};

use crate::api::{Asked, Dash, Named};
use crate::failure::Failure;
use crate::json::Json;
use crate::requests::names;
use crate::state::blocking;

/// How long a device may take. It makes pictures at its lowest priority.
const PATIENCE: Duration = Duration::from_secs(2);
/// A picture that is no older serves all pages: the device is asked twice a second at most, however many look at it.
const FRESH: Duration = Duration::from_millis(450);
/// Devices that are asked for a picture at once.
const AT_ONCE: usize = 16;
/// Pictures that are kept: of the largest rig, in two widths.
const KEPT: usize = 1_024;
/// Most devices whose exchanges are told at once.
const MOST_DEVICES: usize = 16;

/// What a device said when it was last asked for a picture of its newest frame.
type Said = Option<(Instant, Result<Arc<ThumbnailReply>, PeekError>)>;

/// Whoever asks for a device's picture while it is asked waits for that.
type Place = Arc<tokio::sync::Mutex<Said>>;

/// The live pictures that were asked for lately, by device and width.
#[derive(Debug)]
pub struct Peeks {
    said: Mutex<HashMap<(DeviceId, u16), Place>>,
    places: tokio::sync::Semaphore,
}

impl Default for Peeks {
    fn default() -> Self {
        Self { said: Mutex::default(), places: tokio::sync::Semaphore::new(AT_ONCE) }
    }
}

impl Peeks {
    async fn newest(&self, rig: Rig, device: DeviceId, width: u16) -> Result<Arc<ThumbnailReply>, Failure> {
        let place = {
            let mut said = self.said.lock();
            if said.len() >= KEPT {
                said.clear();
            }
            Arc::clone(said.entry((device.clone(), width)).or_default())
        };
        let mut said = place.lock().await;
        if let Some((at, result)) = &*said
            && at.elapsed() < FRESH
        {
            return result.clone().map_err(failure);
        }
        let result = self.ask(rig, device, ThumbnailRequest { frame: None, width }).await?;
        *said = Some((Instant::now(), result.clone()));
        result.map_err(failure)
    }

    async fn ask(
        &self,
        rig: Rig,
        device: DeviceId,
        request: ThumbnailRequest,
    ) -> Result<Result<Arc<ThumbnailReply>, PeekError>, Failure> {
        let _place = self.places.acquire().await;
        blocking(move || Ok(rig.session().thumbnail(&device, request, PATIENCE).map(Arc::new))).await
    }
}

/// Why there is nothing to see, with the status code that says whose fault it is.
fn failure(error: PeekError) -> Failure {
    let (status, remedy) = match &error {
        PeekError::Absent(_) => (StatusCode::NOT_FOUND, "GET /api/v1/status lists the devices"),
        PeekError::Silent { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, "its processor or its network may be too busy: ask again")
        }
        PeekError::Older(_) => {
            (StatusCode::NOT_IMPLEMENTED, "install the same version of swsync on all devices")
        }
        PeekError::Refused { .. } => {
            (StatusCode::CONFLICT, "the device says why; all else of it works without pictures")
        }
        _ => (StatusCode::BAD_GATEWAY, "install the same version of swsync on all devices"),
    };
    Failure::new(status, error.to_string(), remedy)
}

/// Which frame, and how large.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ThumbnailQuery {
    /// Most pixels in a row; without it, 320.
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 640)))]
    pub width: Option<u16>,
    /// The number of a frame that is still in the ring; without it, the newest. Of encoded video the last key frame until it.
    pub frame: Option<u64>,
}

/// `GET /api/v1/devices/{device}/thumbnail`.
pub async fn thumbnail(
    State(dashboard): Dash,
    Named(device): Named<DeviceId>,
    Asked(ThumbnailQuery { width, frame }): Asked<ThumbnailQuery>,
) -> Result<Response, Failure> {
    let rig = dashboard.rig()?;
    let width = width.unwrap_or(320);
    if !WIDTHS.contains(&width) {
        let why = format!("width {width} is not {} to {}", WIDTHS.start(), WIDTHS.end());
        return Err(Failure::usage(why, "ask for another width"));
    }
    let shown = match frame {
        None => dashboard.peeks.newest(rig, device, width).await?,
        Some(_) => {
            let asked = dashboard.peeks.ask(rig, device, ThumbnailRequest { frame, width }).await?;
            asked.map_err(failure)?
        }
    };
    let headers = [
        (CONTENT_TYPE, "image/jpeg".to_owned()),
        (HeaderName::from_static("swsync-frame"), shown.frame.to_string()),
        (HeaderName::from_static("swsync-at-ms"), (shown.at_ns.as_nanos() / 1_000_000).to_string()),
    ];
    Ok((headers, shown.jpeg.clone()).into_response())
}

/// Of which devices.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExchangesQuery {
    /// Up to 16 devices, separated by commas.
    pub devices: String,
}

/// An exchange: how long ago it ended in milliseconds, its round-trip delay in microseconds, and its offset against the clock as it is now
/// in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExchangeSample(i64, f64, f64);

impl From<&ClockExchange> for ExchangeSample {
    fn from(exchange: &ClockExchange) -> Self {
        let micros = |span: swsync_core::time::Span| (span.as_micros_f64() * 10.0).round() / 10.0;
        Self(exchange.ago_ns.as_nanos() / 1_000_000, micros(exchange.delay_ns), micros(exchange.offset_ns))
    }
}

/// The exchanges of a device's clock.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceExchanges {
    /// The oldest first.
    pub exchanges: Vec<ExchangeSample>,
    /// Why there are none: it leads, or does not answer.
    pub problem: Option<String>,
}

/// `GET /api/v1/exchanges`.
pub async fn exchanges(
    State(dashboard): Dash,
    Asked(query): Asked<ExchangesQuery>,
) -> Result<Json<BTreeMap<DeviceId, DeviceExchanges>>, Failure> {
    let rig = dashboard.rig()?;
    let devices = names(Some(&query.devices))?;
    if devices.is_empty() || devices.len() > MOST_DEVICES {
        let why = format!("{} devices are not 1 to {MOST_DEVICES}", devices.len());
        return Err(Failure::usage(why, "name some devices: devices=a,b"));
    }
    blocking(move || {
        let told = in_parallel(8, devices.iter(), |device| {
            let told = match rig.session().exchanges(device, PATIENCE) {
                Ok(told) => DeviceExchanges {
                    exchanges: told.exchanges.iter().map(Into::into).collect(),
                    problem: None,
                },
                Err(error) => DeviceExchanges { exchanges: Vec::new(), problem: Some(error.to_string()) },
            };
            (device.clone(), told)
        });
        Ok(Json(told.into_iter().collect()))
    })
    .await
}
