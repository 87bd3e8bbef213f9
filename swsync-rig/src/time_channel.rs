//! What devices tell one another of their time services: who leads, on which time scale, and where time is served. The time itself
//! never goes this way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use swsync_core::message::{decode, encode};
use swsync_core::time_service::TimeAdvert;
use zenoh::Wait;
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::{ConsolidationMode, QueryTarget};

use crate::keys::Keys;
use crate::link::{Held, Shared};
use crate::queries::respond;
use crate::{ControlError, Session};

/// How long the devices have to answer a question.
const ANSWER: Duration = Duration::from_secs(1);
/// Longest advert that is parsed, in bytes: ten times one with all addresses of a device with several networks.
const MAX_ADVERT: usize = 16 << 10;
/// Adverts and questions that wait to be sent. If the network takes none, further ones are dropped: they are of the moment.
const WAITING: usize = 8;

/// A device's part in what the rig tells of its time services. Dropping it sends what still waits, and leaves.
pub struct TimeChannel {
    // Dropped in this order: what waits is sent before the rest is undeclared.
    sender: Sender,
    _held: Held,
    _session: Arc<Session>,
}

/// What is sent.
enum Outgoing {
    Advert(Vec<u8>),
    Question,
}

/// The thread that sends. Zenoh may block for a moment if a connection hangs, which time must not wait for.
struct Sender {
    queue: Option<SyncSender<Outgoing>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            swsync_core::log::error!("the thread that sends adverts of the time service has panicked");
        }
    }
}

impl Session {
    /// Joins what the rig tells of its time services. `on_advert` gets the adverts of all devices, perhaps this one's as well;
    /// `answer` says what to tell those who ask, if anything. Both are called on Zenoh's threads and must not block.
    ///
    /// # Errors
    /// [`ControlError::Zenoh`] if the session is closed.
    pub fn join_time(
        self: &Arc<Self>,
        on_advert: impl Fn(TimeAdvert) + Send + Sync + 'static,
        answer: impl Fn() -> Option<TimeAdvert> + Send + Sync + 'static,
    ) -> Result<TimeChannel, ControlError> {
        let inbox = Arc::new(Inbox { on_advert: Box::new(on_advert), warned: AtomicBool::new(false) });
        let (keys, instance) = (self.keys().clone(), self.instance.clone());
        let (heard, answer) = (Arc::clone(&inbox), Arc::new(answer));
        let held = self.link().hold(move |zenoh| {
            let error = |source| ControlError::zenoh("join the time service", source);
            let (heard, answer, key) = (Arc::clone(&heard), Arc::clone(&answer), keys.time(&instance));
            let subscriber = zenoh
                .declare_subscriber(keys.times())
                .callback(move |sample| heard.take(sample.key_expr().as_str(), &sample.payload().to_bytes()))
                .wait()
                .map_err(error)?;
            let queryable = zenoh
                .declare_queryable(keys.time(&instance))
                .callback(move |query| {
                    if let Some(advert) = answer() {
                        respond(&query, &key, encode(&advert));
                    }
                })
                .wait()
                .map_err(error)?;
            Ok(Box::new((subscriber, queryable)))
        })?;
        let (queue, outgoing) = sync_channel(WAITING);
        let (link, key) = (Arc::clone(self.link()), self.keys().time(&self.instance));
        let thread = thread::Builder::new()
            .name("swsync-adverts".into())
            .spawn(move || send(&outgoing, &link, &key, &inbox))
            .map_err(|source| ControlError::zenoh("join the time service", source.into()))?;
        let sender = Sender { queue: Some(queue), thread: Some(thread) };
        Ok(TimeChannel { sender, _held: held, _session: Arc::clone(self) })
    }
}

impl TimeChannel {
    /// Sends `advert` to all other devices. Does not block.
    pub fn publish(&self, advert: &TimeAdvert) {
        self.send(Outgoing::Advert(encode(advert)));
    }

    /// Asks all other devices for their adverts. Does not block.
    pub fn ask(&self) {
        self.send(Outgoing::Question);
    }

    fn send(&self, outgoing: Outgoing) {
        let queue = self.sender.queue.as_ref().expect("taken by drop only");
        if queue.try_send(outgoing).is_err() {
            swsync_core::log::debug!("the network takes no adverts of the time service");
        }
    }
}

/// Where adverts come in.
struct Inbox {
    on_advert: Box<dyn Fn(TimeAdvert) + Send + Sync>,
    /// A malformed advert was logged.
    warned: AtomicBool,
}

impl Inbox {
    fn take(&self, key: &str, bytes: &[u8]) {
        if bytes.len() > MAX_ADVERT {
            return self.warn(key, &format!("{} bytes are too many", bytes.len()));
        }
        match decode(bytes) {
            Ok(advert) => (self.on_advert)(advert),
            Err(error) => self.warn(key, &error.to_string()),
        }
    }

    /// Once: a stranger must not fill the log.
    fn warn(&self, key: &str, error: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            swsync_core::log::warn!(key, error, "an advert of a time service that cannot be read");
        }
    }
}

/// Sends what `outgoing` brings, until that ends. What cannot be sent is dropped.
fn send(outgoing: &Receiver<Outgoing>, link: &Shared, key: &str, inbox: &Arc<Inbox>) {
    for outgoing in outgoing {
        let Some(zenoh) = link.zenoh() else { continue };
        let sent = match outgoing {
            Outgoing::Advert(bytes) => zenoh
                .put(key, bytes)
                .congestion_control(CongestionControl::Drop)
                .priority(Priority::RealTime)
                .express(true)
                .wait(),
            Outgoing::Question => ask(&zenoh, &link.keys, inbox.clone()),
        };
        if let Err(error) = sent {
            swsync_core::log::debug!(%error, "could not send for the time service");
        }
    }
}

fn ask(zenoh: &zenoh::Session, keys: &Keys, inbox: Arc<Inbox>) -> zenoh::Result<()> {
    zenoh
        .get(keys.times())
        .target(QueryTarget::All)
        .consolidation(ConsolidationMode::None)
        .timeout(ANSWER)
        .congestion_control(CongestionControl::Drop)
        .priority(Priority::RealTime)
        .express(true)
        .callback(move |reply| {
            if let Ok(sample) = reply.into_result() {
                inbox.take(sample.key_expr().as_str(), &sample.payload().to_bytes());
            }
        })
        .wait()
}
