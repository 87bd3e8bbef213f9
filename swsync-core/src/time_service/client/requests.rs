//! Requests in flight, and which response completes which exchange.
//!
//! In basic mode a response carries the times at which the request arrived (T2) and at which the response itself leaves (T3).
//! The server has to read T3 before it sends, so T3 is early by the time that sending takes. In interleaved mode (RFC 9769
//! section 2) a response carries instead the exact T3 of the server's previous response, as its kernel took it. So the next
//! response completes an exchange:
//!
//! ```text
//! request n:   origin = T2 of n-1, receive = a cookie, transmit = another
//! response n:  receive = T2 of n,  origin = request's receive:  transmit = T3 of n-1   (interleaved)
//!                                  origin = request's transmit: transmit = T3 of n     (basic)
//! ```
//!
//! The origin tells the mode, because it echoes one cookie or the other. Cookies are random: they do not reveal the client's
//! time (RFC 9769 allows that in interleaved mode too), and nobody can forge a response without having seen the request.

use std::collections::VecDeque;

use crate::ntp::{NtpTimestamp, Packet};
use crate::time::{Local, Span, Timestamp};

/// A request is given up after this time.
const MAX_AGE: Span = Span::from_secs(2);
/// Most requests in flight.
const OUTSTANDING: usize = 64;
/// Most exchanges that wait for a later response to complete them.
const HALVES: usize = 16;
/// Number of answered requests that are remembered, to distinguish duplicates from forgeries.
const ANSWERED: usize = 64;

/// A request without its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// Its number, which identifies it when its transmit timestamp is reported.
    number: u64,
    cookies: Cookies,
    /// When it was handed to the network; the kernel's timestamp replaces this.
    sent: Timestamp<Local>,
    /// In interleaved mode, the exchange that its response completes.
    refers_to: Option<HalfExchange>,
}

/// The two values of a request, one of which its response echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookies {
    /// The request's transmit timestamp, echoed in basic mode.
    pub basic: NtpTimestamp,
    /// The request's receive timestamp, echoed in interleaved mode.
    pub interleaved: NtpTimestamp,
}

/// An exchange whose T3 is not yet known exactly.
#[derive(Debug, Clone, Copy)]
struct HalfExchange {
    number: u64,
    t1: Timestamp<Local>,
    t2: NtpTimestamp,
    t4: Timestamp<Local>,
    /// Whether a basic response has already completed it, with the inexact T3.
    used: bool,
}

/// The four timestamps of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamps {
    pub t1: Timestamp<Local>,
    pub t2: NtpTimestamp,
    pub t3: NtpTimestamp,
    pub t4: Timestamp<Local>,
}

/// How a response relates to the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It answers the request at this index, in basic or interleaved mode.
    Answer { index: usize, interleaved: bool },
    /// It answers a request that was already answered.
    Duplicate,
    /// It answers no known request.
    Bogus,
}

/// The requests in flight, and the exchanges to be completed.
#[derive(Debug)]
pub(super) struct Requests {
    outstanding: VecDeque<Request>,
    halves: VecDeque<HalfExchange>,
    answered: VecDeque<Cookies>,
    /// Number of requests sent.
    sent: u64,
    /// Number of requests given up.
    lost: u64,
}

impl Requests {
    pub fn new() -> Self {
        Self {
            outstanding: VecDeque::with_capacity(OUTSTANDING),
            halves: VecDeque::with_capacity(HALVES),
            answered: VecDeque::with_capacity(ANSWERED),
            sent: 0,
            lost: 0,
        }
    }

    /// Number of requests sent, and of those given up.
    pub const fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }

    /// Number of requests younger than `patience`, and when the oldest of them was sent.
    pub fn in_flight(&self, now: Timestamp<Local>, patience: Span) -> (usize, Option<Timestamp<Local>>) {
        let mut young = self.outstanding.iter().filter(|request| now - request.sent < patience);
        let oldest = young.next().map(|request| request.sent);
        (usize::from(oldest.is_some()) + young.count(), oldest)
    }

    /// The timestamps of a new request, and its number. In interleaved mode it completes the newest exchange that is not older
    /// than `stale`.
    pub fn send(
        &mut self,
        now: Timestamp<Local>,
        cookies: Cookies,
        interleaved: bool,
        stale: Span,
    ) -> (Packet, u64) {
        self.halves.retain(|half| now - half.t4 < stale);
        while let Some(first) = self.outstanding.front()
            && (now - first.sent > MAX_AGE || self.outstanding.len() == OUTSTANDING)
        {
            self.outstanding.pop_front();
            self.lost += 1;
        }
        self.sent += 1;
        // The newest exchange is worth most. At a steady pace there is only one.
        let refers_to = if interleaved { self.halves.pop_back() } else { None };
        self.outstanding.push_back(Request { number: self.sent, cookies, sent: now, refers_to });
        let packet = Packet {
            origin: refers_to.map_or(NtpTimestamp::ZERO, |half| half.t2),
            receive: refers_to.map_or(NtpTimestamp::ZERO, |_| cookies.interleaved),
            transmit: cookies.basic,
            ..Packet::default()
        };
        (packet, self.sent)
    }

    /// The request `number` left at `sent`. This may come after its response.
    pub fn set_sent(&mut self, number: u64, sent: Timestamp<Local>) {
        if let Some(request) = self.outstanding.iter_mut().find(|request| request.number == number) {
            request.sent = sent;
        }
        let waiting = self.outstanding.iter_mut().filter_map(|request| request.refers_to.as_mut());
        if let Some(half) = self.halves.iter_mut().chain(waiting).find(|half| half.number == number) {
            half.t1 = sent;
        }
    }

    /// Which request `response` answers.
    pub fn find(&self, response: &Packet) -> Match {
        let origin = response.origin;
        for (index, request) in self.outstanding.iter().enumerate() {
            if origin == request.cookies.basic {
                return Match::Answer { index, interleaved: false };
            }
            if request.refers_to.is_some() && origin == request.cookies.interleaved {
                return Match::Answer { index, interleaved: true };
            }
        }
        let known = |cookies: &Cookies| origin == cookies.basic || origin == cookies.interleaved;
        if self.answered.iter().any(known) { Match::Duplicate } else { Match::Bogus }
    }

    /// Removes the request at `index`, because the server refused it.
    pub fn refuse(&mut self, index: usize) {
        self.take(index);
    }

    fn take(&mut self, index: usize) -> Option<Request> {
        let request = self.outstanding.remove(index)?;
        if self.answered.len() == ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back(request.cookies);
        Some(request)
    }

    /// The exchange that `response`, the answer to the request at `index`, completes.
    pub fn complete(
        &mut self,
        index: usize,
        interleaved: bool,
        response: &Packet,
        received: Timestamp<Local>,
    ) -> Option<Stamps> {
        let request = self.take(index)?;
        if self.halves.len() == HALVES {
            self.halves.pop_front();
        }
        self.halves.push_back(HalfExchange {
            number: request.number,
            t1: request.sent,
            t2: response.receive,
            t4: received,
            used: !interleaved,
        });
        let t3 = response.transmit;
        match request.refers_to {
            Some(half) if interleaved => {
                (!half.used).then_some(Stamps { t1: half.t1, t2: half.t2, t3, t4: half.t4 })
            }
            _ => Some(Stamps { t1: request.sent, t2: response.receive, t3, t4: received }),
        }
    }

    /// The leader has changed: do not complete exchanges that began with the old one.
    pub fn forget_exchanges(&mut self) {
        self.halves.clear();
        for half in self.outstanding.iter_mut().filter_map(|request| request.refers_to.as_mut()) {
            half.used = true;
        }
    }

    /// The server has changed: do not wait for earlier requests.
    pub fn forget(&mut self) {
        self.lost += u64::try_from(self.outstanding.len()).expect("64 at most");
        self.outstanding.clear();
        self.halves.clear();
    }
}
