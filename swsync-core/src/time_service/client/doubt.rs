//! Exchanges that contradict the estimate, from a server that is not swsync's.
//!
//! Delays can only widen what an exchange says of the offset. So one that excludes the estimate shows that the server's clock has
//! stepped, or that one of its timestamps is wrong. It is held back, and the clock goes on as before, in holdover. Four that agree
//! with each other, over 300 ms or more, are a step; one that agrees with the estimate ends the doubt. swsync's own servers tell of
//! a step themselves.

use super::Client;
use super::pacer::SHORT_BURST;
use crate::estimate::Exchange;
use crate::time::{Local, Span, Timestamp};

/// A contradiction by less does not count, and neither does one within [`SIGMAS`] of the estimate's uncertainty.
const LEAST: Span = Span::from_micros(500);
const SIGMAS: i64 = 6;
/// So many exchanges that agree with each other ...
const CONFIRMING: usize = 4;
/// ... over at least this time are a step.
const CONFIRMING_TIME: Span = Span::from_millis(300);
/// Most exchanges that are held back.
const MOST: usize = 8;

/// The exchanges that are held back. They agree with each other.
#[derive(Debug)]
pub(super) struct HeldBack(Vec<Exchange>);

impl HeldBack {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(MOST))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds an exchange. Returns whether those that are held back are a step now.
    fn add(&mut self, exchange: &Exchange) -> bool {
        let agrees = |other: &Exchange| {
            let (above, below) = (other.upper().as_span(), other.lower().as_span());
            exchange.lower().as_span() - above <= LEAST && below - exchange.upper().as_span() <= LEAST
        };
        if !self.0.iter().all(agrees) {
            self.0.clear();
        }
        if self.0.len() == MOST {
            self.0.remove(1); // the first one tells since when
        }
        self.0.push(*exchange);
        self.0.len() >= CONFIRMING && exchange.t4 - self.0[0].t4 >= CONFIRMING_TIME
    }
}

impl Client {
    /// Whether `exchange` is held back. If it confirms those that are, the estimator begins anew with them.
    pub(super) fn is_held_back(&mut self, exchange: &Exchange, now: Timestamp<Local>) -> bool {
        if !self.is_contradicted_by_exchange(exchange) {
            self.held_back.clear();
            return false;
        }
        if !self.held_back.add(exchange) {
            self.lose(now);
            self.pacer.ask_now(now);
            return true;
        }
        crate::log::info!("the server's clock has stepped: its last exchanges agree");
        self.counts.contradictions += 1;
        self.estimator.reset();
        self.held_back.0.pop(); // this exchange comes by itself
        for held in &self.held_back.0 {
            self.estimator.handle_exchange(held);
        }
        self.held_back.clear();
        self.last_burst = now;
        self.pacer.start_burst(&self.config, now, SHORT_BURST);
        false
    }

    /// Whether a clock that knows rig time and `exchange` cannot both be right.
    fn is_contradicted_by_exchange(&self, exchange: &Exchange) -> bool {
        let update = self.last_update.filter(|_| self.state.knows_rig_time());
        update.is_some_and(|update| {
            let estimate = update.estimate;
            let margin = LEAST.max(estimate.uncertainty_at(exchange.t4) * SIGMAS);
            let offset = (estimate.rig_at(exchange.t4).as_nanos()).saturating_sub(exchange.t4.as_nanos());
            let offset = Span::from_nanos(offset);
            offset - exchange.upper().as_span() > margin || exchange.lower().as_span() - offset > margin
        })
    }
}
