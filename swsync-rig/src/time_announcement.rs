//! Where rig time is served: a leader announces its addresses, and clients look for them. The time itself never goes this way.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use swsync_core::message::{TimeService, decode, encode};
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;
use zenoh::query::Queryable;
use zenoh::sample::SampleKind;

use crate::{ControlError, Session};

/// How long an announced time service has to answer with its addresses.
const ANSWER: Duration = Duration::from_secs(1);

/// Announces where this session serves time. Dropping it withdraws that.
pub struct TimeAnnouncement {
    // Dropped in this order: the token must not outlive the queryable.
    _token: LivelinessToken,
    _queryable: Queryable<()>,
    _session: Arc<Session>,
}

impl Session {
    /// Announces that time is served. Each query calls `service` for the addresses, since they change. A session has one
    /// announcement; the last one counts.
    ///
    /// # Errors
    /// [`ControlError::Zenoh`] if the session is closed.
    pub fn announce_time(
        self: &Arc<Self>,
        service: impl Fn() -> TimeService + Send + Sync + 'static,
    ) -> Result<TimeAnnouncement, ControlError> {
        let key = self.keys.time(&self.instance);
        let error = |source| ControlError::zenoh("announce the time service", source);
        let reply_key = key.clone();
        let queryable = self
            .zenoh
            .declare_queryable(&key)
            .callback(move |query| {
                if let Err(error) = query.reply(&reply_key, encode(&service())).wait() {
                    swsync_core::log::debug!(%error, "could not reply"); // the asking session is gone
                }
            })
            .wait()
            .map_err(error)?;
        let token = self.zenoh.liveliness().declare_token(&key).wait().map_err(error)?;
        Ok(TimeAnnouncement { _token: token, _queryable: queryable, _session: Arc::clone(self) })
    }

    /// Where the rig's time is served. Waits for an announcement, for `timeout` at most. `None`: there was none.
    ///
    /// If several devices announce it, every session gets the same one, and the log has a warning: unless leadership is
    /// moving, the rig has two leaders.
    ///
    /// # Errors
    /// [`ControlError::Zenoh`] if the session is closed.
    pub fn find_time(&self, timeout: Duration) -> Result<Option<TimeService>, ControlError> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let (tx, rx) = mpsc::channel();
        let _tokens = self
            .zenoh
            .liveliness()
            .declare_subscriber(self.keys.times())
            .history(true)
            .callback(move |sample| {
                if sample.kind() == SampleKind::Put {
                    let _ = tx.send(()); // fails if the caller has given up
                }
            })
            .wait()
            .map_err(|source| ControlError::zenoh("look for the time service", source))?;
        while rx.recv_timeout(left()).is_ok() {
            if let Some(service) = self.ask_time(left().min(ANSWER)) {
                return Ok(Some(service));
            }
        }
        Ok(None)
    }

    /// Of the time services that answer, the one with the least instance.
    fn ask_time(&self, timeout: Duration) -> Option<TimeService> {
        let (tx, rx) = mpsc::channel();
        self.ask(&self.keys.times(), None, timeout, move |reply| {
            let _ = tx.send(reply); // fails if the caller has given up
        });
        let mut services: Vec<(String, TimeService)> = rx
            .into_iter()
            .filter_map(|reply| {
                let (key, bytes) =
                    reply.inspect_err(|why| swsync_core::log::debug!(why, "no time service")).ok()?;
                match decode(&bytes) {
                    Ok(service) => Some((key, service)),
                    Err(error) => {
                        swsync_core::log::warn!(key, %error, "a time service that cannot be read");
                        None
                    }
                }
            })
            .collect();
        services.sort_by(|(a, _), (b, _)| a.cmp(b));
        if services.len() > 1 {
            swsync_core::log::warn!(
                ?services,
                "several devices serve time: is more than one of them the leader?"
            );
        }
        services.into_iter().next().map(|(_, service)| service)
    }
}
