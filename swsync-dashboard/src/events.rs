//! Server-sent events: the state once, then what changes, to every page that is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};

use crate::failure::Failure;
use crate::state::Dashboard;

/// Events that wait for a page that is slow. One that misses some gets the state anew.
const WAITING: usize = 256;
/// Pages that may be open at once.
const PAGES: usize = 64;
/// A comment so often, so that a connection that has died is noticed on both ends.
const ALIVE: Duration = Duration::from_secs(10);

/// An event as it is sent.
#[derive(Debug, Clone)]
struct Message {
    kind: &'static str,
    data: Arc<str>,
}

/// The pages that are open.
#[derive(Debug)]
pub struct Events(Sender<Message>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(WAITING).0)
    }
}

impl Events {
    /// Sends `data` to all pages.
    pub fn send(&self, kind: &'static str, data: &impl Serialize) {
        if self.0.receiver_count() > 0 {
            let data = serde_json::to_string(data).unwrap_or_default().into();
            // Fails if the last page has gone meanwhile.
            let _ = self.0.send(Message { kind, data });
        }
    }
}

fn event(kind: &'static str, data: impl AsRef<str>) -> Event {
    Event::default().event(kind).data(data)
}

/// The state with all orders, as one event.
fn everything(dashboard: &Dashboard) -> Event {
    let orders = dashboard.orders.all();
    let state = dashboard.live.lock().state(dashboard.access.is_read_only(), orders);
    event("state", serde_json::to_string(&state).unwrap_or_default())
}

fn stream(dashboard: Arc<Dashboard>) -> impl Stream<Item = Result<Event, Infallible>> {
    // Before the state is read: what changes in between is told twice rather than never.
    let changes = BroadcastStream::new(dashboard.events.0.subscribe());
    let first = tokio_stream::once(everything(&dashboard));
    first
        .chain(changes.map(move |message| match message {
            Ok(Message { kind, data }) => event(kind, data),
            Err(_) => everything(&dashboard),
        }))
        .map(Ok)
}

/// `GET /api/v1/events`.
pub async fn events(State(dashboard): State<Arc<Dashboard>>) -> Response {
    if dashboard.events.0.receiver_count() >= PAGES {
        return Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{PAGES} pages are open already"),
            "close one of them",
        )
        .into_response();
    }
    Sse::new(stream(dashboard)).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}
