//! Finds the addresses of the servers that a user names.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::ClientProgress;

/// How long a round waits for lookups. It tries what is found by then, while the other lookups go on.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);
/// How long the result of a lookup stays valid.
const FRESH: Duration = Duration::from_secs(10);

/// An address where a leader may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The name it was found by.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

type Found = Result<Vec<SocketAddr>, String>;

/// Something to look up, and the lookup under way. A lookup blocks neither the executor nor the end of the client: a slow
/// one goes on by itself, and its result is dropped.
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

    /// The result, if there is one before `deadline`.
    async fn finish(&mut self, deadline: Instant) -> Option<Found> {
        loop {
            let running = self.running.get_or_insert_with(|| (self.start)());
            let finished = timeout_at(deadline, running).await.ok()?;
            self.running = None;
            match finished {
                Ok((at, found)) if at.elapsed() < FRESH => return Some(found),
                Ok(_) => {} // too old: look again
                Err(error) => return Some(Err(format!("the lookup failed: {error}"))),
            }
        }
    }
}

/// Looks for candidates, once a round.
#[derive(Default)]
pub(crate) struct Resolver {
    lookups: Vec<Lookup>,
}

impl Resolver {
    pub(crate) fn new(servers: &[String]) -> Self {
        Self { lookups: servers.iter().cloned().map(Lookup::of_name).collect() }
    }

    /// The candidates found within `patience`, the likeliest first. `note` records errors.
    pub(crate) async fn candidates(
        &mut self,
        patience: Duration,
        note: impl Fn(&dyn Fn(&mut ClientProgress)),
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

/// IPv6 and IPv4 addresses in turn, each family in the order given (RFC 8305 section 4): a family without a route costs one
/// attempt, not as many as it has addresses.
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
    fn address_families_take_turns() {
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
        let scoped = resolve("[fe80::1%lo]:11").await.unwrap();
        assert!(matches!(scoped[..], [SocketAddr::V6(v6)] if v6.scope_id() != 0), "{scoped:?}");
    }

    #[tokio::test]
    async fn a_failed_lookup_says_why() {
        assert!(resolve("leader").await.unwrap_err().contains("host:port"));
        assert!(resolve("leader:many").await.unwrap_err().contains("\"many\" is no port"));
        let error = resolve("[fe80::1%nowhere]:1").await.unwrap_err();
        assert_eq!(error, "there is no network interface nowhere");
    }

    #[tokio::test]
    async fn a_stuck_lookup_does_not_block_the_round() {
        // Like a resolver whose servers do not answer: it returns when the test is over.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = std::sync::Arc::new(parking_lot::Mutex::new(ended));
        let start = move || {
            let ended = ended.clone();
            tokio::task::spawn_blocking(move || {
                let _ = ended.lock().recv();
                (Instant::now(), Ok(Vec::new()))
            })
        };
        let stuck = Lookup { name: "nothing".into(), start: Box::new(start), running: None };
        let mut resolver = Resolver { lookups: vec![stuck] };
        let noted = std::cell::RefCell::new(ClientProgress::default());
        let found =
            resolver.candidates(Duration::from_millis(1), |change| change(&mut noted.borrow_mut())).await;
        assert_eq!(found, Vec::new());
        let error = noted.borrow().error.clone().unwrap();
        assert_eq!(error, "cannot find nothing: no answer from the resolver yet");
        drop(end);
    }
}
