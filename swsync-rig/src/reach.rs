//! Whether all hubs reach a member, and what is done if one does not.
//!
//! Zenoh's routers (1.10.2) lose what one of them has declared if others go and come before they have worked their trees out anew: after
//! 0.2 s by themselves, 0.02 s as built here (`.cargo/config.toml`). A member is seen then through one hub, and cannot be asked through
//! another. Only the hub concerned can tell. So members ask all hubs, after each change among them and now and then, whether they are
//! reached. One that is not, twice in a row, connects anew, and so declares all that it has again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use swsync_core::message::{decode, decode_request, encode};
use swsync_core::name::Name;
use zenoh::Wait;
use zenoh::query::{ConsolidationMode, Query, QueryTarget};

use crate::keys::{KeepKind, Keys, Member, QueryKind};
use crate::queries::respond;

/// How long a member has to answer a hub. A query for which there is no route ends at once.
const ANSWER: Duration = Duration::from_secs(2);

/// When a query that ended without a reply had no route, rather than a member that is slow.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long after a change of the hubs, or of the own connection, routes are complete, also where Zenoh takes 0.2 s.
const SETTLED: Duration = Duration::from_millis(700);

/// How soon a hub is asked again that does not reach the member.
const AGAIN: Duration = Duration::from_millis(300);

/// How often hubs are asked while nothing changes.
const EVERY: Duration = Duration::from_secs(20);

/// How long not to connect anew after having done so: at first, and at most if it does not help.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What a hub tells a member that asks. It tells nothing if it does not know, as when the member is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub reached: bool,
}

/// What became of a hub's query to the member that asked it. `reached`: `None` if that is not known.
pub(crate) struct Verdict {
    query: Query,
    key: String,
    reached: Option<bool>,
}

/// A thread that tells members the verdicts on them, until nobody can send it one.
///
/// It is needed as Zenoh (1.10.2) may end a query with its routing tables locked, when a device goes that was asked. Whoever replied to
/// another one in that moment, or dropped one, would wait for ever, and the hub with it.
pub(crate) fn start_answering() -> Sender<Verdict> {
    let (tx, rx) = mpsc::channel();
    let answer = move || {
        for Verdict { query, key, reached } in rx {
            if let Some(reached) = reached {
                respond(&query, &key, encode(&Reached { reached }));
            }
        }
    };
    let thread = std::thread::Builder::new().name("swsync-reach".into()).spawn(answer);
    thread.expect("the system has room for one more thread");
    tx
}

/// Has the query of a member answered, at the hub whose router is `zenoh`.
pub(crate) fn answer(
    query: Query,
    key: &str,
    zenoh: &zenoh::Session,
    keys: &Keys,
    verdicts: &Sender<Verdict>,
) {
    let Some(Ok(member)) = query.payload().map(|payload| decode_request::<Member>(&payload.to_bytes()))
    else {
        return;
    };
    let verdict = Verdict { query, key: key.to_owned(), reached: None };
    let trial = Trial {
        verdict: Some(verdict),
        verdicts: verdicts.clone(),
        begun: Instant::now(),
        reached: AtomicBool::new(false),
    };
    let asked = zenoh
        .get(keys.query(&member, QueryKind::Status))
        .consolidation(ConsolidationMode::None)
        .timeout(ANSWER)
        .callback(move |_| {
            if trial.begun.elapsed() < AT_ONCE {
                trial.reached.store(true, Ordering::Relaxed);
            }
        })
        .wait();
    if let Err(error) = asked {
        swsync_core::log::debug!(%error, "cannot ask a member");
    }
}

/// A hub's query to a member. It is dropped when it ends.
struct Trial {
    /// Taken when it is dropped.
    verdict: Option<Verdict>,
    verdicts: Sender<Verdict>,
    begun: Instant,
    reached: AtomicBool,
}

impl Drop for Trial {
    fn drop(&mut self) {
        let reached = self.reached.load(Ordering::Relaxed);
        let reached = (reached || self.begun.elapsed() < AT_ONCE).then_some(reached);
        if let Some(verdict) = self.verdict.take() {
            let _ = self.verdicts.send(Verdict { reached, ..verdict }); // the thread lives as long as this sender
        }
    }
}

/// Asks all hubs whether they reach `members`. `results` gets whether one does not reach one, once all have answered.
pub(crate) fn ask(zenoh: &zenoh::Session, keys: &Keys, members: &[Member], results: Sender<bool>) {
    let round = Arc::new(Round { missed: AtomicBool::new(false), results });
    for member in members {
        let round = Arc::clone(&round);
        let asked = zenoh
            .get(keys.keep_all(KeepKind::Reach))
            .payload(encode(member))
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .timeout(ANSWER + AT_ONCE)
            .callback(move |reply| {
                let reply = reply.into_result().ok();
                let said = reply.and_then(|sample| decode::<Reached>(&sample.payload().to_bytes()).ok());
                if said == Some(Reached { reached: false }) {
                    round.missed.store(true, Ordering::Relaxed);
                }
            })
            .wait();
        if let Err(error) = asked {
            swsync_core::log::debug!(%error, "cannot ask the hubs");
        }
    }
}

/// The queries of a session to all hubs. It is dropped when they end.
struct Round {
    missed: AtomicBool,
    results: Sender<bool>,
}

impl Drop for Round {
    fn drop(&mut self) {
        let _ = self.results.send(self.missed.load(Ordering::Relaxed)); // fails if the link is closed
    }
}

/// Decides when a session asks, and when it connects anew. Sans-IO.
#[derive(Debug)]
pub(crate) struct ReachPolicy {
    hubs: BTreeSet<Name>,
    /// When to ask next. `None`: there is nobody to ask, or the answer is awaited.
    ask_at: Option<Instant>,
    missed: bool,
    pause: Duration,
    anew_at: Option<Instant>,
}

impl ReachPolicy {
    pub(crate) const fn new() -> Self {
        Self { hubs: BTreeSet::new(), ask_at: None, missed: false, pause: PAUSE, anew_at: None }
    }

    /// Whether to ask `hubs` now.
    pub(crate) fn is_due(&mut self, now: Instant, hubs: BTreeSet<Name>) -> bool {
        if hubs != self.hubs {
            self.hubs = hubs;
            self.missed = false;
            self.ask_at = (!self.hubs.is_empty()).then(|| now + SETTLED);
        }
        let due = self.ask_at.is_some_and(|at| now >= at);
        if due {
            self.ask_at = Some(now + EVERY);
        }
        due
    }

    /// Handles whether a hub did not reach this session's members. Whether to connect anew.
    pub(crate) fn handle_result(&mut self, now: Instant, missed: bool) -> bool {
        let again = std::mem::replace(&mut self.missed, missed);
        if !missed {
            self.pause = PAUSE;
        } else if !again {
            self.ask_at = Some(now + AGAIN);
        } else if self.anew_at.is_none_or(|at| now >= at) {
            self.missed = false;
            self.anew_at = Some(now + self.pause);
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            self.ask_at = Some(now + SETTLED);
            return true;
        }
        false
    }
}

/// The results of the queries that are under way.
#[derive(Debug)]
pub(crate) struct Results {
    pub tx: Sender<bool>,
    pub rx: Receiver<bool>,
}

impl Results {
    pub(crate) fn new() -> Self {
        let (tx, rx) = mpsc::channel();
        Self { tx, rx }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    fn hubs(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| Name::new(*name).unwrap()).collect()
    }

    #[test]
    fn a_hub_tells_a_member_for_which_it_has_no_route() {
        let free = crate::free_loopback().unwrap();
        let config = crate::RigConfig::new(
            Name::new("reach").unwrap(),
            vec![format!("tcp/{free}")],
            vec![format!("tcp/{free}")],
        );
        let keys = Keys::new(&config.rig);
        let router = crate::zenoh_config::router_config(&config, &config.listen, &[]).unwrap();
        let router = zenoh::open(router).wait().unwrap();
        // Never closed: closing would wait for ever, rather than the test fail, where the hub does.
        let (router, hub, hub_keys) = (ManuallyDrop::new(router.clone()), router, keys.clone());
        let key = keys.keep(&Name::new(router.zid().to_string()).unwrap(), KeepKind::Reach);
        let (own_key, verdicts) = (key.clone(), start_answering());
        let answer = move |query| answer(query, &own_key, &hub, &hub_keys, &verdicts);
        router.declare_queryable(key).callback(answer).background().wait().unwrap();
        let open = || zenoh::open(crate::zenoh_config::client_config(free, None).unwrap()).wait().unwrap();
        let client = ManuallyDrop::new(open());
        let member =
            |device| Member { device: Name::new(device).unwrap(), instance: Name::new("1").unwrap() };
        let own_key = keys.query(&member("there"), QueryKind::Status);
        let queries = client.declare_queryable(keys.queries(&member("there")));
        queries.callback(move |query| respond(&query, &own_key, Vec::new())).background().wait().unwrap();
        let Results { tx, rx } = Results::new();
        let result = || rx.recv_timeout(Duration::from_secs(20)).expect("hubs answer, or the query ends");
        let asked = |members: &[Member]| {
            ask(&client, &keys, members, tx.clone());
            result()
        };
        assert!(!asked(&[member("there")]));
        let begun = Instant::now();
        assert!(asked(&[member("lost")]) && begun.elapsed() < AT_ONCE);
        assert!(asked(&[member("there"), member("lost")]));
        // One that says nothing may be slow, and connecting anew would not help it.
        let (slow, (tx_query, queries)) = (open(), mpsc::channel());
        let _slow = slow
            .declare_queryable(keys.queries(&member("slow")))
            .callback(move |query| {
                let _ = tx_query.send(query);
            })
            .wait()
            .unwrap();
        let begun = Instant::now();
        while asked(&[member("slow")]) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the hub hears of it");
        }
        // It goes while it is asked. The hub goes on.
        for _ in 0..20 {
            ask(&client, &keys, &[member("slow")], tx.clone());
        }
        let unanswered: Vec<_> = queries.iter().take(21).collect();
        slow.close().wait().unwrap();
        drop(unanswered);
        for _ in 0..20 {
            result();
        }
        assert!(!asked(&[member("there")]));
    }

    #[test]
    fn hubs_are_asked_once_routes_are_settled_and_then_now_and_then() {
        let (mut policy, begin) = (ReachPolicy::new(), Instant::now());
        assert!(!policy.is_due(begin, hubs(&[])));
        assert!(!policy.is_due(begin + EVERY, hubs(&[])));
        assert!(!policy.is_due(begin, hubs(&["1"])));
        assert!(policy.is_due(begin + SETTLED, hubs(&["1"])));
        assert!(!policy.is_due(begin + EVERY, hubs(&["1"])));
        assert!(policy.is_due(begin + SETTLED + EVERY, hubs(&["1"])));
        let change = begin + SETTLED + EVERY + AGAIN;
        assert!(!policy.is_due(change, hubs(&["1", "2"])));
        assert!(policy.is_due(change + SETTLED, hubs(&["1", "2"])));
    }

    #[test]
    fn a_member_that_is_not_reached_twice_in_a_row_connects_anew_but_ever_more_rarely() {
        let (mut policy, begin) = (ReachPolicy::new(), Instant::now());
        let all = || hubs(&["1", "2"]);
        assert!(!policy.is_due(begin, all()));
        let mut now = begin + SETTLED;
        assert!(policy.is_due(now, all()));
        assert!(!policy.handle_result(now, true), "once may be a moment");
        assert!(!policy.handle_result(now, false), "it was");
        assert!(!policy.handle_result(now, true));
        now += AGAIN;
        assert!(policy.is_due(now, all()));
        let mut times = vec![];
        while times.len() < 9 {
            if policy.handle_result(now, true) {
                times.push(now);
            }
            now += AGAIN;
        }
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] < PAUSE * 2 && pauses[1] >= PAUSE * 2, "{pauses:?}");
        assert!(pauses[7] >= MAX_PAUSE && pauses[7] < MAX_PAUSE + 3 * AGAIN, "{pauses:?}");
        assert!(!policy.handle_result(now, false));
        assert!(!policy.handle_result(now + MAX_PAUSE, true));
        assert!(policy.handle_result(now + MAX_PAUSE, true));
    }
}
