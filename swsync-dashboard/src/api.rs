//! The routes of the API, and what all of them share. `openapi.json` describes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, State};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, patch, post, put};
use axum::{Router, middleware};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use swsync_cli::documents::{GivenDocument, RigStatus};
use swsync_core::name::{DeviceId, OrderId};

use crate::access::guard;
use crate::events::events;
use crate::failure::Failure;
use crate::history::{SAMPLES, Sample};
use crate::json::{Body, Json};
use crate::orders::{OrderState, Stage};
use crate::requests::{LoginRequest, RecordRequest, ShootRequest, ToQuery, Wanted, names};
use crate::state::{Dashboard, blocking};
use crate::{date, pages, peeks, report, settings, takes};

/// What handlers get.
pub type Dash = State<Arc<Dashboard>>;

/// The largest body of a request.
const LARGEST: usize = 256 << 10;
/// The longest wait for an order.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often an order that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The description of the API, made from its types by a test.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// A method at a path.
pub struct Route {
    /// `get`, `post`, `put` or `patch`.
    pub method: &'static str,
    /// As OpenAPI writes it.
    pub path: &'static str,
    handler: MethodRouter<Arc<Dashboard>>,
}

/// All methods at all paths.
#[must_use]
pub fn routes() -> Vec<Route> {
    let route = |method, path, handler| Route { method, path, handler };
    vec![
        route("post", "/api/v1/login", post(log_in)),
        route("get", "/api/v1/openapi.json", get(openapi)),
        route("get", "/api/v1/status", get(status)),
        route("get", "/api/v1/events", get(events)),
        route("get", "/api/v1/history", get(history)),
        route("get", "/api/v1/devices/{device}/thumbnail", get(peeks::thumbnail)),
        route("get", "/api/v1/exchanges", get(peeks::exchanges)),
        route("get", "/api/v1/date", get(date::get)),
        route("post", "/api/v1/date", post(date::give)),
        route("post", "/api/v1/shoot", post(shoot)),
        route("post", "/api/v1/record", post(record)),
        route("get", "/api/v1/orders", get(orders)),
        route("get", "/api/v1/orders/{order}", get(order)),
        route("post", "/api/v1/orders/{order}/stop", post(stop)),
        route("post", "/api/v1/orders/{order}/cancel", post(cancel)),
        route("get", "/api/v1/settings", get(settings::get)),
        route("patch", "/api/v1/settings", patch(settings::set)),
        route("post", "/api/v1/settings/lock-3a", post(settings::lock)),
        route("post", "/api/v1/settings/unlock-3a", post(settings::unlock)),
        route("get", "/api/v1/presets", get(settings::presets)),
        route("put", "/api/v1/presets/{preset}", put(settings::save)),
        route("post", "/api/v1/presets/{preset}/apply", post(settings::apply)),
        route("get", "/api/v1/takes", get(takes::list)),
        route("get", "/api/v1/takes/{order}/frames", get(takes::frames)),
        route("get", "/api/v1/takes/{order}/certificate", get(takes::certificate)),
        route("get", "/api/v1/takes/{order}/zip", get(takes::zip)),
        route("get", "/api/v1/takes/{order}/report", get(report::state)),
        route("post", "/api/v1/takes/{order}/report", post(report::make)),
        route("get", "/api/v1/takes/{order}/report.html", get(report::page)),
        route("put", "/api/v1/takes/{order}/note", put(takes::note)),
        route("get", "/api/v1/takes/{order}/devices/{device}/file", get(takes::file)),
    ]
}

/// Everything that is served.
pub fn router(dashboard: Arc<Dashboard>) -> Router {
    let api =
        routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    api.fallback(pages::page)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(middleware::from_fn_with_state(Arc::clone(&dashboard), guard))
        .with_state(dashboard)
}

async fn no_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here", "/api/v1/openapi.json lists them")
}

/// Names in a path.
pub struct Named<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|error| {
            Failure::usage(error.body_text(), "names have letters, digits, and - _ . between them")
        })
    }
}

/// What is behind the question mark.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|error| Failure::usage(error.body_text(), "/api/v1/openapi.json says what may be there"))
    }
}

/// Which devices.
pub type To = Asked<ToQuery>;

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Whether a login is needed, and whether anything can be changed.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoginDocument {
    /// Whether whoever asks may go on.
    pub logged_in: bool,
    /// Nothing can be changed here.
    pub read_only: bool,
}

async fn log_in(State(dashboard): Dash, headers: HeaderMap, Body(request): Body<LoginRequest>) -> Response {
    let access = &dashboard.access;
    let document = Json(LoginDocument { logged_in: true, read_only: access.is_read_only() });
    if !access.needs_login() || (request.token.is_empty() && access.is_logged_in(&headers)) {
        return document.into_response();
    }
    match access.log_in(&request.token) {
        Some(cookie) => ([(SET_COOKIE, cookie)], document).into_response(),
        None => Failure::new(
            StatusCode::UNAUTHORIZED,
            "this is not the token",
            "open the address that `swsync dashboard` printed; it has a new token each time it is started",
        )
        .into_response(),
    }
}

async fn status(State(dashboard): Dash) -> Result<Json<Value>, Failure> {
    let rig = dashboard.rig()?;
    let snapshot = dashboard.live.lock().snapshot.clone();
    let document = blocking(move || {
        let snapshot = snapshot.unwrap_or_else(|| rig.snapshot());
        Ok(RigStatus::new(snapshot).open(rig.is_open()).document())
    });
    Ok(Json(serde_json::to_value(document.await?).unwrap_or_default()))
}

/// Which samples.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// Of these devices, separated by commas; without it, of all.
    pub devices: Option<String>,
    /// At most so many of the newest.
    pub last: Option<usize>,
}

async fn history(
    State(dashboard): Dash,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Json<BTreeMap<DeviceId, Vec<Sample>>>, Failure> {
    let wanted = names(query.devices.as_deref())?;
    let is_wanted = |device: &DeviceId| wanted.is_empty() || wanted.contains(device);
    Ok(Json(dashboard.live.lock().history.last(query.last.unwrap_or(SAMPLES), is_wanted)))
}

async fn give(dashboard: Arc<Dashboard>, wanted: Wanted) -> Result<Response, Failure> {
    let order = blocking(move || dashboard.give(&wanted)).await?;
    Ok((StatusCode::ACCEPTED, Json(GivenDocument::new(&order))).into_response())
}

async fn shoot(State(dashboard): Dash, Body(request): Body<ShootRequest>) -> Result<Response, Failure> {
    give(dashboard, request.wanted()?).await
}

async fn record(State(dashboard): Dash, Body(request): Body<RecordRequest>) -> Result<Response, Failure> {
    give(dashboard, request.wanted()?).await
}

async fn orders(State(dashboard): Dash) -> Json<Vec<OrderState>> {
    Json(dashboard.orders.all())
}

/// Whether to wait for the last answer.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// Longest wait until the order is done, like 20s; a minute at most.
    pub wait: Option<String>,
}

async fn order(
    State(dashboard): Dash,
    Named(order): Named<OrderId>,
    Asked(query): Asked<WaitQuery>,
) -> Result<Json<OrderState>, Failure> {
    let wait = query.wait.as_deref().map(swsync_cli::duration::any).transpose();
    let wait = wait.map_err(|why| Failure::usage(format!("wait: {why}"), "write it like 500ms or 20s"))?;
    let deadline = tokio::time::Instant::now() + wait.unwrap_or_default().min(LONGEST_WAIT);
    loop {
        let state = dashboard.orders.get(&order).ok_or_else(|| {
            Failure::not_found(
                format!("no order {order} was given here lately"),
                "GET /api/v1/takes lists what the rig has taken",
            )
        })?;
        if state.stage == Stage::Done || tokio::time::Instant::now() >= deadline {
            return Ok(Json(state));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What became of a stop, or of a cancellation.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EndedDocument {
    /// The order.
    pub order: OrderId,
    /// Devices that did not hear of it, or too late, in words. Empty: all will end at one instant.
    pub problems: Vec<String>,
}

async fn end(
    dashboard: Arc<Dashboard>,
    order: OrderId,
    cancels: bool,
) -> Result<Json<EndedDocument>, Failure> {
    blocking(move || {
        let problems = dashboard.end(&order, cancels)?;
        Ok(Json(EndedDocument { order, problems }))
    })
    .await
}

async fn stop(State(dashboard): Dash, Named(order): Named<OrderId>) -> Result<Json<EndedDocument>, Failure> {
    end(dashboard, order, false).await
}

async fn cancel(
    State(dashboard): Dash,
    Named(order): Named<OrderId>,
) -> Result<Json<EndedDocument>, Failure> {
    end(dashboard, order, true).await
}
