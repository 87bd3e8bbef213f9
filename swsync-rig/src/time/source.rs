//! Where a leader may be: addresses, names, or what the rig's control plane says.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use swsync_core::control::TimeService;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Progress;
use crate::control::Session;

/// How long a round waits for names: what is found by then is tried, and the rest looked up meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);
/// What a lookup has found holds for so long.
const FRESH: Duration = Duration::from_secs(10);

/// Finds the rig's time service without being told where it is.
pub trait FindTime: Send + Sync {
    /// Where time is served; blocks until someone says so, for `timeout` at most. `None`: nobody did.
    ///
    /// # Errors
    /// Why it cannot look.
    fn find(&self, timeout: Duration) -> Result<Option<TimeService>, String>;

    /// What it looks for, to go after "looking for".
    fn describe(&self) -> String;
}

impl FindTime for Session {
    fn find(&self, timeout: Duration) -> Result<Option<TimeService>, String> {
        self.find_time(timeout).map_err(|error| error.to_string())
    }

    fn describe(&self) -> String {
        format!("the time service of rig {}", self.rig())
    }
}

/// How a client comes to know its leader. Asked again whenever the leader in use falls silent.
#[derive(Clone)]
pub enum LeaderSource {
    /// `host:port` candidates, in order of preference. A host is a name or an address; IPv6 stands in
    /// brackets and may have a scope: `[fe80::1%eth0]:11123`.
    Addresses(Vec<String>),
    /// What the rig says: a [`Session`] knows.
    Discovered(Arc<dyn FindTime>),
}

impl fmt::Debug for LeaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(addresses) => f.debug_tuple("Addresses").field(addresses).finish(),
            Self::Discovered(finder) => f.debug_tuple("Discovered").field(&finder.describe()).finish(),
        }
    }
}

/// An address where a leader may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// As it was named.
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

type Found = Result<Vec<SocketAddr>, String>;

/// Something that has to be looked up, and the lookup under way. None blocks the executor or the
/// end of whoever asked: one that takes long goes on by itself, and its result is thrown away.
struct Lookup {
    name: String,
    start: Box<dyn Fn() -> JoinHandle<(Instant, Found)> + Send + Sync>,
    running: Option<JoinHandle<(Instant, Found)>>,
}

impl Lookup {
    fn of_name(text: String) -> Self {
        let name = text.clone();
        let start = move || {
            let text = text.clone();
            tokio::spawn(async move {
                let found = resolve(&text).await;
                (Instant::now(), found)
            })
        };
        Self { name, start: Box::new(start), running: None }
    }

    fn of_service(finder: Arc<dyn FindTime>) -> Self {
        let name = finder.describe();
        let start = move || {
            let finder = finder.clone();
            tokio::task::spawn_blocking(move || {
                let found = finder.find(PATIENCE).and_then(|service| match service {
                    Some(service) => Ok(service.addresses),
                    None => Err(format!("nobody announces {}", finder.describe())),
                });
                (Instant::now(), found)
            })
        };
        Self { name, start: Box::new(start), running: None }
    }

    /// What is found before `deadline`. `None`: not yet.
    async fn finish(&mut self, deadline: Instant) -> Option<Found> {
        loop {
            let running = self.running.get_or_insert_with(|| (self.start)());
            let finished = timeout_at(deadline, running).await.ok()?;
            self.running = None;
            match finished {
                Ok((at, found)) if at.elapsed() < FRESH => return Some(found),
                Ok(_) => {} // of an earlier round: once more
                Err(error) => return Some(Err(format!("the lookup failed: {error}"))),
            }
        }
    }
}

/// Looks for candidates, again and again.
pub(super) struct Resolver {
    lookups: Vec<Lookup>,
}

impl Resolver {
    pub(super) fn new(source: &LeaderSource) -> Self {
        let lookups = match source {
            LeaderSource::Addresses(names) => names.iter().cloned().map(Lookup::of_name).collect(),
            LeaderSource::Discovered(finder) => vec![Lookup::of_service(finder.clone())],
        };
        Self { lookups }
    }

    /// What is looked for.
    pub(super) fn describe(&self) -> String {
        self.lookups.iter().map(|lookup| lookup.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Where a leader may be, the likeliest first: what is found within `patience`, mostly [`PATIENCE`].
    /// `note` is told what went wrong.
    pub(super) async fn candidates(
        &mut self,
        patience: Duration,
        note: impl Fn(&dyn Fn(&mut Progress)),
    ) -> Vec<Candidate> {
        let deadline = Instant::now() + patience;
        for lookup in &mut self.lookups {
            lookup.running.get_or_insert_with(|| (lookup.start)());
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for lookup in &mut self.lookups {
            let error = match lookup.finish(deadline).await {
                Some(Ok(addresses)) if addresses.is_empty() => "there is no address".into(),
                Some(Ok(addresses)) => {
                    for address in interleaved(addresses) {
                        if candidates.iter().all(|known| known.address != address) {
                            candidates.push(Candidate { name: lookup.name.clone(), address });
                        }
                    }
                    continue;
                }
                Some(Err(error)) => error,
                None => "no answer from the resolver yet".into(),
            };
            let name = &lookup.name;
            note(&|progress| progress.error = Some(format!("cannot find {name}: {error}")));
        }
        candidates
    }
}

/// The addresses of `host:port`.
async fn resolve(text: &str) -> Found {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| "this is not host:port".to_owned())?;
    let port: u16 = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    if let Some((address, scope)) = scoped(host) {
        let interface =
            if_nametoindex(scope).map_err(|_| format!("there is no network interface {scope}"))?;
        return Ok(vec![SocketAddrV6::new(address, port, 0, interface).into()]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(|error| error.to_string())
}

/// The parts of `[fe80::1%eth0]`.
fn scoped(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, scope) = host.strip_prefix('[')?.strip_suffix(']')?.split_once('%')?;
    Some((address.parse().ok()?, scope))
}

/// IPv6 and IPv4 in turn, each in the order given (RFC 8305 section 4): one that leads nowhere costs
/// one attempt, not as many as there are addresses.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut result = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.drain(..), other.drain(..));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return result,
            (first, second) => result.extend(first.into_iter().chain(second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleaved(given), expected);
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn hosts_are_addresses_or_names() {
        assert_eq!(resolve("127.0.0.2:11").await.unwrap(), addresses(&["127.0.0.2:11"]));
        assert_eq!(resolve("[::1]:11").await.unwrap(), addresses(&["[::1]:11"]));
        let local = resolve("localhost:11").await.unwrap();
        assert!(local.iter().all(|address| address.ip().is_loopback() && address.port() == 11), "{local:?}");
        // Scopes have names.
        let scoped = resolve("[fe80::1%lo]:11").await.unwrap();
        assert!(matches!(scoped[..], [SocketAddr::V6(v6)] if v6.scope_id() != 0), "{scoped:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_found_is_said() {
        assert!(resolve("leader").await.unwrap_err().contains("host:port"));
        assert!(resolve("leader:many").await.unwrap_err().contains("\"many\" is no port"));
        let error = resolve("[fe80::1%nowhere]:1").await.unwrap_err();
        assert_eq!(error, "there is no network interface nowhere");
    }

    /// Looks for ever, like a resolver whose servers do not answer.
    struct Stuck(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

    impl FindTime for Stuck {
        fn find(&self, _: Duration) -> Result<Option<TimeService>, String> {
            // Until the test is over.
            let _ = self.0.lock().unwrap().recv();
            Ok(None)
        }

        fn describe(&self) -> String {
            "nothing".into()
        }
    }

    #[tokio::test]
    async fn a_stuck_lookup_holds_nothing_up() {
        let (end, ended) = std::sync::mpsc::channel();
        let finder = Arc::new(Stuck(std::sync::Mutex::new(ended)));
        let mut resolver = Resolver::new(&LeaderSource::Discovered(finder));
        let told = std::cell::RefCell::new(Progress::default());
        let found =
            resolver.candidates(Duration::from_millis(1), |change| change(&mut told.borrow_mut())).await;
        assert_eq!(found, Vec::new());
        let error = told.borrow().error.clone().unwrap();
        assert_eq!(error, "cannot find nothing: no answer from the resolver yet");
        drop(end);
    }
}
