//! Datagrams from the server: matching them to requests, refusals, another leader, and exchanges.

use super::pacer::SHORT_BURST;
use super::requests::Match;
use super::{Client, ClientAction, MAX_KNOWN_ERROR, ServerRefusal};
use crate::estimate::{ClockEstimate, Exchange};
use crate::ntp::{self, Key, Packet, Trailer};
use crate::time::{Local, Skew, Span, Timestamp};
use crate::time_service::upstream::UNSYNCHRONIZED;
use crate::time_service::{SyncState, Upstream};

/// After a longer silence a short burst refreshes the estimate.
const LONG_SILENCE: Span = Span::from_secs(10);
/// If the uncertainty grows by this factor from one exchange to the next, the estimator was contradicted and began anew.
const CONTRADICTED: f64 = 4.0;
/// Exchanges of the burst after a change of leader within a time scale. Chosen: with them the estimate is nearly as good as after
/// a whole burst, and they take 0.1 to 0.3 s.
const HANDOVER_BURST: u32 = 96;
/// How wrong the rate at which a new leader goes on may be, 1 sigma, if it does not state more: what a device knows of it after some
/// ten seconds over WiFi.
const LEADERS_RATE: Skew = Skew::from_ratio(0.5e-6);
/// Least time between two bursts because of contradictions.
const CALM: Span = Span::from_secs(30);

impl Client {
    /// Handles a datagram from the server's address; `received` is its receive timestamp.
    pub fn handle_datagram(&mut self, bytes: &[u8], received: Timestamp<Local>) {
        let Some((index, interleaved, response)) = self.find_request(bytes) else { return };
        if response.stratum == 0 {
            self.requests.refuse(index);
            self.handle_kiss(response.reference_id, received);
            return;
        }
        if let Some(refusal) = self.objection(&response) {
            self.requests.refuse(index);
            self.handle_unusable(refusal);
            return;
        }
        let upstream = Upstream {
            stratum: response.stratum,
            reference_id: response.reference_id,
            root_delay: response.root_delay.to_span(),
            root_dispersion: response.root_dispersion.to_span(),
            field: response.rig,
        };
        self.handle_upstream(upstream, received);
        let stamps = self.requests.complete(index, interleaved, &response, received);
        let exchange = stamps.map(|stamps| self.without_leaps(&stamps, &upstream, response.leap));
        // Moves the offset and leaves the round trip as it is.
        let own = self.config.path_offset;
        let exchange = exchange.map(|each| Exchange { t2: each.t2 - own, t3: each.t3 - own, ..each });
        if exchange.is_some_and(|exchange| !exchange.is_plausible()) {
            crate::log::debug!(?exchange, "implausible exchange");
            self.counts.implausible += 1;
            // Without `handle_heard`: such a server counts as silent.
            self.pacer.handle_nonsense(matches!(self.state, SyncState::Synced | SyncState::Holdover));
            return;
        }
        self.counts.interleaved += u64::from(interleaved);
        self.handle_heard(received);
        if let Some(exchange) = exchange {
            self.handle_exchange(&exchange, upstream, received);
        }
    }

    /// The request that `bytes` answer, if `bytes` are an authentic response.
    fn find_request(&mut self, bytes: &[u8]) -> Option<(usize, bool, Packet)> {
        let decoded = ntp::decode(bytes).inspect_err(|error| crate::log::debug!(%error, "not an NTP packet"));
        let Some((response, trailer)) = decoded.ok().filter(|(packet, _)| packet.mode == ntp::MODE_SERVER)
        else {
            self.counts.bogus += 1;
            return None;
        };
        match self.requests.find(&response) {
            Match::Duplicate => {
                self.counts.duplicates += 1;
                None
            }
            Match::Bogus => {
                self.counts.bogus += 1;
                None
            }
            Match::Answer { index, interleaved } => {
                let authentic = match (&self.config.key, trailer) {
                    (None, _) => true,
                    (Some(key), Trailer::Mac(mac)) => mac.verifies(key),
                    (Some(_), Trailer::Nothing | Trailer::CryptoNak) => false,
                };
                if authentic {
                    return Some((index, interleaved, response));
                }
                // Anybody on the path can send this. So tell the user, but change nothing else.
                self.counts.bad_mac += 1;
                let key = self.config.key.as_ref().map_or(0, Key::id);
                self.report_refusal(match trailer {
                    Trailer::CryptoNak => ServerRefusal::Key(key),
                    Trailer::Nothing | Trailer::Mac(_) => ServerRefusal::Unauthenticated(key),
                });
                None
            }
        }
    }

    /// Why the server of `response` cannot be followed, if so.
    fn objection(&self, response: &Packet) -> Option<ServerRefusal> {
        if response.leap == ntp::LEAP_UNSYNCHRONIZED || response.stratum >= UNSYNCHRONIZED {
            return Some(ServerRefusal::Unsynchronized);
        }
        let field = response.rig?;
        if self.config.rig != 0 && field.rig != 0 && field.rig != self.config.rig {
            return Some(ServerRefusal::OtherRig(field.rig));
        }
        let me = self.config.device;
        if me != 0 && (field.leader == me || field.path.hops().contains(&me)) {
            return Some(ServerRefusal::Loop);
        }
        None
    }

    /// The server knows the time and describes itself as `upstream`.
    fn handle_upstream(&mut self, upstream: Upstream, now: Timestamp<Local>) {
        self.pacer.set_budget(upstream.field.map_or(Span::ZERO, |field| field.least_poll()));
        let leader = |upstream: Upstream| upstream.field.map(|field| (field.timescale, field.leader));
        let before = self.upstream.replace(upstream).and_then(leader);
        let (Some(before), Some(after)) = (before, leader(upstream)) else { return };
        if before == after {
            self.note_doubt(&upstream, now);
            return;
        }

        self.requests.forget_exchanges();
        self.counts.resets += 1;
        if before.0 == after.0 {
            // The new leader goes on at the rate that it has found, from where its own clock was.
            crate::log::info!("another leader of the same time scale: learning it");
            let doubt = upstream.field.map_or(Skew::ZERO, |field| field.rate_uncertainty());
            let doubt = Skew::from_ratio(doubt.as_ratio().max(LEADERS_RATE.as_ratio()));
            self.estimator.reset_keeping_rate(doubt);
            if upstream.is_settled() {
                self.hand_over(upstream, doubt);
            }
            self.pacer.start_burst(&self.config, now, HANDOVER_BURST);
        } else {
            crate::log::info!("another time scale: learning it anew");
            self.estimator.reset();
            self.servo.join();
            self.lose(now);
            self.pacer.start_burst(&self.config, now, self.config.burst);
        }
    }

    /// A leader whose time is in doubt, because it has slept for example, may come out of that with another time than it went in.
    fn note_doubt(&mut self, upstream: &Upstream, now: Timestamp<Local>) {
        if !upstream.is_settled() {
            self.is_doubtful |= upstream.uncertainty() > MAX_KNOWN_ERROR;
        } else if std::mem::take(&mut self.is_doubtful) {
            self.estimator.reset();
            self.requests.forget_exchanges();
            self.lose(now);
            self.pacer.start_burst(&self.config, now, self.config.burst);
        }
    }

    /// Notices that much time has passed without the server, even if no request went unanswered: this program may have been
    /// stopped. What the estimator knows is too old to be joined with single exchanges.
    pub(super) fn check_touch(&mut self, now: Timestamp<Local>) {
        let most = LONG_SILENCE.max(self.pacer.interval(&self.config, now) * 3);
        if self.state == SyncState::Synced && self.last_heard.is_some_and(|heard| now - heard >= most) {
            self.lose(now);
            self.pacer.call(true);
        }
    }

    /// A server that knows the time has answered.
    fn handle_heard(&mut self, now: Timestamp<Local>) {
        self.counts.responses += 1;
        self.refusal = None;
        self.check_touch(now);
        let lost_touch = self.last_heard.is_none_or(|heard| now - heard >= LONG_SILENCE);
        let calls = self.pacer.is_calling();
        self.last_heard = Some(now);
        self.unanswered_since = None;
        let synced_once = matches!(self.state, SyncState::Synced | SyncState::Holdover);
        if calls && (!synced_once || std::mem::take(&mut self.has_slept)) {
            self.pacer.start_burst(&self.config, now, self.config.burst);
        } else if calls && lost_touch {
            self.pacer.start_burst(&self.config, now, SHORT_BURST);
        }
        let jitter = self.random.jitter();
        self.pacer.handle_response(&self.config, now, jitter);
    }

    fn handle_exchange(&mut self, exchange: &Exchange, upstream: Upstream, now: Timestamp<Local>) {
        if self.leap.is_in_doubt() {
            self.lose(now); // the next exchanges tell whether it is a leap second
            return;
        }
        if upstream.field.is_none() && self.is_held_back(exchange, now) {
            return;
        }
        self.round_trips.push(exchange.delay());
        self.last_exchange = Some(*exchange);
        let Some(estimate) = self.estimator.handle_exchange(exchange) else { return };
        self.notice_contradiction(&estimate, now);
        self.pacer.end_burst(&self.config, now, self.estimator.has_settled());
        self.pacer.handle_estimate(&self.config, now, &estimate);
        self.publish(&estimate, exchange.delay(), upstream, now);
    }

    /// Starts a short burst if the estimator was contradicted.
    fn notice_contradiction(&mut self, estimate: &ClockEstimate, now: Timestamp<Local>) {
        let Some(before) = self.last_update.map(|update| update.estimate) else { return };
        let expected = before.uncertainty_at(now).max(self.config.accuracy);
        if self.state == SyncState::Synced
            && !self.pacer.is_in_burst()
            && now - self.last_burst > CALM
            && estimate.uncertainty_at(now) > expected.mul_f64(CONTRADICTED)
        {
            crate::log::debug!("the estimate has been contradicted");
            self.last_burst = now;
            self.counts.contradictions += 1;
            self.pacer.start_burst(&self.config, now, SHORT_BURST);
        }
    }

    /// Handles a kiss-o'-death (RFC 5905 section 7.4): RATE asks to slow down, DENY and RSTR to go away.
    fn handle_kiss(&mut self, code: [u8; 4], now: Timestamp<Local>) {
        match &code {
            b"RATE" => {
                self.counts.kisses += 1;
                self.pacer.handle_rate(&self.config, now);
            }
            b"DENY" | b"RSTR" => {
                self.counts.kisses += 1;
                self.pacer.handle_denial(now);
                self.report_refusal(ServerRefusal::Kiss(code));
            }
            // Codes that begin with X are free for experiments.
            b"XFUL" => {
                self.counts.kisses += 1;
                self.pacer.handle_denial(now);
                self.report_refusal(ServerRefusal::Full);
            }
            // Not a kiss: ntpd and chronyd send stratum 0, with INIT or nothing, until they know the time.
            _ => self.handle_unusable(ServerRefusal::Unsynchronized),
        }
    }

    /// The server answers but cannot be followed: treat it as silent.
    pub(super) fn handle_unusable(&mut self, refusal: ServerRefusal) {
        self.counts.unusable += 1;
        self.pacer.call(self.state == SyncState::Holdover);
        self.report_refusal(refusal);
    }

    /// Reports once why the server cannot be followed.
    fn report_refusal(&mut self, refusal: ServerRefusal) {
        if self.refusal != Some(refusal) {
            crate::log::warn!("{refusal}");
            self.refusal = Some(refusal);
            self.actions.push_back(ClientAction::Refused(refusal));
        }
    }
}
