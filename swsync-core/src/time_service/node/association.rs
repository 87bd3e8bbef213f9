//! The association with a server (RFC 5905 section 3): which one is asked, at which address, and for how long in vain.

use std::net::SocketAddr;

use super::{Node, NodeAction, SendToken, ServerRefusal};
use crate::ntp::Datagram;
use crate::time::{Local, Span, Timestamp};

/// How long to wait for the first response of an address before the next one is tried: in the first round, if there are
/// several addresses (RFC 8305 section 5), and at most. It doubles with each round.
pub(super) const FIRST_PATIENCE: Span = Span::from_millis(250);
const LONGEST_PATIENCE: Span = Span::from_secs(2);
/// A server that answered before counts as lost once this many requests in a row have no response ...
const SILENT_REQUESTS: u32 = 4;
/// ... and the first of them is this old.
const SILENCE: Span = Span::from_secs(2);
/// How long a named server that denies access is left alone. Chosen: rare enough for the server, and soon enough for somebody
/// who is just correcting its configuration.
const DENIED: Span = Span::from_secs(10);

/// A server that is being asked.
#[derive(Debug)]
pub(super) struct Association {
    /// Its id; `None`: the user has named it.
    pub server: Option<u64>,
    addresses: Vec<SocketAddr>,
    /// Index of the address that is asked.
    at: usize,
    /// Since when it is asked.
    since: Timestamp<Local>,
    /// Whether it has answered at this address.
    pub has_answered: bool,
    /// When the first request without a response was sent, and the number of such requests.
    unanswered: Option<(Timestamp<Local>, u32)>,
    /// The server or the kernel says that the address cannot be used.
    is_dead: bool,
}

impl Association {
    pub fn address(&self) -> SocketAddr {
        self.addresses[self.at]
    }

    fn is_over(&self, now: Timestamp<Local>, patience: Span) -> bool {
        let silent = |(since, requests)| requests >= SILENT_REQUESTS && now - since >= SILENCE;
        match self.has_answered {
            _ if self.is_dead => true,
            true => self.unanswered.is_some_and(silent),
            false => now - self.since >= patience,
        }
    }
}

impl Node {
    /// Asks `server` from now on, at the first of its addresses.
    pub(super) fn associate(
        &mut self,
        server: Option<u64>,
        addresses: Vec<SocketAddr>,
        now: Timestamp<Local>,
    ) {
        self.association = Some(Association {
            server,
            addresses,
            at: 0,
            since: now,
            has_answered: false,
            unanswered: None,
            is_dead: false,
        });
        self.connect(now);
    }

    fn connect(&mut self, now: Timestamp<Local>) {
        let Some(association) = &mut self.association else { return };
        (association.since, association.has_answered) = (now, false);
        (association.unanswered, association.is_dead) = (None, false);
        self.client.handle_new_server(now);
        self.actions.push_back(NodeAction::Connect(association.address()));
    }

    /// Asks nobody.
    pub(super) fn leave_association(&mut self) {
        if self.association.take().is_some() {
            self.actions.push_back(NodeAction::Disconnect);
        }
    }

    /// The address that is asked cannot be reached.
    pub fn handle_unreachable(&mut self) {
        if let Some(association) = &mut self.association {
            // A named server without another address is asked on: the network may come up late.
            association.is_dead = !association.has_answered
                && (association.server.is_some() || association.addresses.len() > 1);
        }
    }

    pub(super) fn send(&mut self, datagram: Datagram, token: SendToken, now: Timestamp<Local>) {
        let Some(association) = &mut self.association else { return };
        let (_, requests) = association.unanswered.get_or_insert((now, 0));
        *requests += 1;
        self.actions.push_back(NodeAction::Send { datagram, token });
    }

    /// Notes whether the server has answered by now.
    pub(super) fn note_response(&mut self) {
        let Some(association) = &mut self.association else { return };
        let Some(heard) = self.client.last_heard().filter(|heard| *heard >= association.since) else {
            return;
        };
        if association.unanswered.is_none_or(|(since, _)| heard >= since) {
            association.unanswered = None;
        }
        association.has_answered = true;
        self.patience = FIRST_PATIENCE;
        let address = association.address();
        if let Some(server) = association.server {
            self.peers.lift_bar(server);
        }
        if self.answering.replace(address) != Some(address) {
            self.actions.push_back(NodeAction::Answers(address));
        }
        self.note_confirmation(heard);
    }

    pub(super) fn handle_refusal(&mut self, refusal: ServerRefusal, now: Timestamp<Local>) {
        let Some(association) = &mut self.association else { return };
        let address = association.address();
        self.actions.push_back(NodeAction::Refused { address, refusal });
        let leaves = match refusal {
            ServerRefusal::Kiss(_) | ServerRefusal::Full | ServerRefusal::Disagrees => true,
            ServerRefusal::Key(_)
            | ServerRefusal::Unauthenticated(_)
            | ServerRefusal::OtherRig(_)
            | ServerRefusal::Loop
            | ServerRefusal::Unsynchronized => association.server.is_some() && !association.has_answered,
        };
        if leaves {
            association.is_dead = true;
            if association.server.is_none() {
                self.denied.push((address, now + DENIED));
            }
        }
    }

    /// Goes on to the next address if the present one stays silent, and leaves the server after the last one.
    pub(super) fn check_association(&mut self, now: Timestamp<Local>) {
        let Some(association) = &mut self.association else { return };
        // A single named address gets the longest time: looking it up again costs as much as waiting.
        let only = association.server.is_none() && association.addresses.len() == 1;
        let patience = if only { LONGEST_PATIENCE } else { self.patience };
        if !association.is_over(now, patience) {
            return;
        }
        let lost = association.has_answered;
        if !lost && association.at + 1 < association.addresses.len() {
            association.at += 1;
            self.connect(now);
            return;
        }
        let server = association.server;
        self.patience = if lost { FIRST_PATIENCE } else { (self.patience * 2).min(LONGEST_PATIENCE) };
        self.leave_association();
        if let Some(server) = server {
            self.peers.bar(server, now);
        }
    }
}
