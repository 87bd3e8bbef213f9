//! What all requests share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use parking_lot::{Mutex, RwLock};
use swsync_client::{Rig, RigConfig};

use crate::access::Access;
use crate::events::Events;
use crate::failure::Failure;
use crate::live::Live;
use crate::orders::Orders;
use crate::peeks::Peeks;
use crate::pictures::Pictures;
use crate::report::Reports;

/// The dashboard of a rig.
///
/// No two of its locks are held at a time.
#[derive(Debug)]
pub struct Dashboard {
    /// How the rig is found.
    pub(crate) config: RigConfig,
    /// Who may ask what.
    pub access: Access,
    rig: RwLock<Option<RigHandle>>,
    pub(crate) live: Mutex<Live>,
    pub(crate) events: Events,
    pub(crate) orders: Orders,
    pub(crate) pictures: Pictures,
    pub(crate) peeks: Peeks,
    pub(crate) reports: Reports,
}

/// A rig has nothing to print.
struct RigHandle(Rig);

impl std::fmt::Debug for RigHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rig({})", self.0.name())
    }
}

impl Dashboard {
    /// Of the rig that `config` names, which need not be there yet.
    #[must_use]
    pub fn new(config: RigConfig, access: Access) -> Arc<Self> {
        let live = Mutex::new(Live::new(config.rig.as_str()));
        Arc::new(Self {
            config,
            access,
            rig: RwLock::default(),
            live,
            events: Events::default(),
            orders: Orders::default(),
            pictures: Pictures::default(),
            peeks: Peeks::default(),
            reports: Reports::default(),
        })
    }

    /// The rig, once it was found.
    pub(crate) fn rig(&self) -> Result<Rig, Failure> {
        self.rig.read().as_ref().map(|handle| handle.0.clone()).ok_or_else(|| {
            Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("rig {} was not found yet", self.config.rig),
                "is one of its devices switched on? `swsync doctor` finds out why not",
            )
        })
    }

    pub(crate) fn found(&self, rig: Rig) {
        *self.rig.write() = Some(RigHandle(rig));
    }
}

/// Milliseconds since 1970, by this host's clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs `work`, which blocks, on a thread for that.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        swsync_core::log::error!(%error, "a request failed");
        Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the dashboard has a fault",
            "report it with what `swsync -v dashboard` prints",
        ))
    })
}
