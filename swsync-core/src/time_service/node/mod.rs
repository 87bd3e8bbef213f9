//! A device of the rig: it finds time servers, follows one of them, and leads the rig if that falls to it.
//!
//! Sans-IO, as [`Client`] is: what happens comes in through `handle_*`, what to do next comes out of [`Node::poll_action`]. Serving
//! time is not here: a [`Server`](super::Server) answers with the [`RigTime`] that this node keeps.
//!
//! - `association.rs`: which server is asked, at which address, and for how long in vain.
//! - `election.rs`: who leads.
//! - `peers.rs`: what is known of the other servers.

mod association;
mod election;
mod peers;
mod resume;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use association::Association;
use peers::Peers;

use super::advert::{AdvertKind, AdvertisedTime, Advertiser, Claim, TimeAdvert};
use super::client::{
    Client, ClientAction, ClientConfig, ClientStats, ClockUpdate, Seed, SendToken, ServerRefusal,
};
use super::rig_time::{LeadStart, RigTime};
use super::status::Identity;
use crate::ntp::{Datagram, RigField};
use crate::time::{Local, Rig, Span, Timestamp};

/// How often a leader tells that it leads, and a candidate that it stands.
const ADVERT_INTERVAL: Span = Span::from_millis(500);
/// A device that starts listens for so long before it says or asks anything: a leader tells within [`ADVERT_INTERVAL`] that it leads.
/// What one device tells or asks all others costs some packets for each of them.
const LISTENING: Span = Span::from_millis(750);
/// How often the node looks at who is heard and who is not.
const TICK: Span = Span::from_millis(125);

/// The settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The device, as an operator calls it.
    pub device: String,
    /// The identity of its time server.
    pub identity: Identity,
    /// Whether it leads if it is elected.
    pub can_lead: bool,
    /// Its priority in an election: 0 comes first, and takes over from a leader with a larger number.
    pub priority: u8,
    /// Its [`ClockClass`](super::ClockClass).
    pub clock_class: u8,
    /// How it asks a server.
    pub client: ClientConfig,
    /// The user names the servers: [`Node::handle_addresses`] brings them, and adverts are not followed.
    pub named: bool,
    /// The wall clock minus the local clock: where a new time scale begins.
    pub wall: Span,
    /// The UDP port where it serves time; 0: it does not.
    pub port: u16,
}

/// What the node asks its caller to do.
#[derive(Debug, PartialEq)]
pub enum NodeAction {
    /// Send further requests to this address, and drop what still comes from the one before.
    Connect(SocketAddr),
    /// Nobody is asked any more.
    Disconnect,
    /// Send `datagram` to the address of the last [`NodeAction::Connect`], then call [`Node::handle_sent`].
    Send {
        /// The request.
        datagram: Datagram,
        /// To be given back with the transmit timestamp.
        token: SendToken,
    },
    /// Set the clock by [`RigTime::follow`].
    Follow(ClockUpdate),
    /// Lead from this instant on: [`RigTime::lead`].
    Lead {
        /// When.
        at: Timestamp<Local>,
        /// From where.
        start: LeadStart,
    },
    /// The leader with this id was alive at this instant: [`RigTime::note_leader`].
    LeaderAlive(u64, Timestamp<Local>),
    /// The clock does not define rig time any more: [`RigTime::stand_down`].
    StandDown,
    /// Tell all devices of the rig what [`Node::advert`] says now.
    Advertise,
    /// Ask all devices of the rig for their adverts.
    Ask,
    /// Look the named servers up, and bring their addresses by [`Node::handle_addresses`].
    Resolve,
    /// The server at this address cannot be followed.
    Refused {
        /// The address.
        address: SocketAddr,
        /// Why.
        refusal: ServerRefusal,
    },
    /// The server at this address answers, and is another one than before.
    Answers(SocketAddr),
    /// Another device says that it leads the rig too, and this has lasted longer than a change of leader takes.
    TwoLeaders(Box<TimeAdvert>),
}

/// A device of the rig.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    client: Client,
    time: RigTime,
    peers: Peers,
    association: Option<Association>,
    actions: VecDeque<NodeAction>,
    election: election::Election,
    next_tick: Timestamp<Local>,
    next_advert: Timestamp<Local>,
    next_question: Timestamp<Local>,
    /// The named servers' addresses are being looked up.
    resolving: bool,
    /// Patience with an address that does not answer, in this round.
    patience: Span,
    /// The address that answered last.
    answering: Option<SocketAddr>,
    /// Servers that deny access, by address, until when.
    denied: Vec<(SocketAddr, Timestamp<Local>)>,
}

/// What tells the era of NTP's timestamps, which repeat every 136 years: rig time is of 1969 to 2105. This device's wall clock is no
/// witness: a board that boots in 1970 took the time of a rig of 2040 for one of 1904, and said that it was synced.
const ERA: Timestamp<Rig> = Timestamp::from_nanos(((1 << 31) - 365 * 86_400) * 1_000_000_000);

impl Node {
    /// A node that knows nothing. `seed` makes its client's cookies unpredictable to strangers. `time` is the clock that it
    /// keeps: of an earlier run, if the device knows rig time already.
    #[must_use]
    pub fn new(config: NodeConfig, mut time: RigTime, now: Timestamp<Local>, seed: Seed) -> Self {
        let mut client = Client::new(config.client.clone(), now, ERA, seed);
        let known = time.scale();
        if known.is_some() {
            client.go_on_from(*time.map(), known.map(|scale| scale.id), now);
            time.forget(); // whether that is still the rig's time is to be found out
        }
        if config.port != 0 {
            time.serve_as(config.identity);
        }
        let mut node = Self {
            client,
            election: election::Election::new(now, known),
            time,
            peers: Peers::default(),
            association: None,
            actions: VecDeque::new(),
            next_tick: now,
            next_advert: now,
            next_question: now,
            resolving: false,
            patience: association::FIRST_PATIENCE,
            answering: None,
            denied: Vec::new(),
            config,
        };
        // Of many that start together, the one that ranks first tells and asks first, and the others need not.
        node.next_advert = now + LISTENING + node.delay(now) / 2;
        node.next_question = node.next_advert;
        node
    }

    /// What to do next; `None`: nothing until [`Node::wake_at`] or the next event.
    pub fn poll_action(&mut self) -> Option<NodeAction> {
        self.actions.pop_front()
    }

    /// When to call [`Node::handle_timeout`], unless something happens before.
    #[must_use]
    pub fn wake_at(&self) -> Timestamp<Local> {
        let tick = self.next_tick.min(self.election_due());
        match self.time.is_leading() && self.association.is_none() {
            true => tick,
            false => tick.min(self.client.wake_at()),
        }
    }

    /// The clock.
    #[must_use]
    pub const fn time(&self) -> &RigTime {
        &self.time
    }

    /// The statistics of its client.
    #[must_use]
    pub fn client_stats(&self, now: Timestamp<Local>) -> ClientStats {
        self.client.stats(now)
    }

    /// Number of completed exchanges of the client's first burst; all of them once it is over.
    #[must_use]
    pub const fn burst_done(&self) -> u32 {
        self.client.burst_done()
    }

    /// The address that is asked, and whether it has answered.
    #[must_use]
    pub fn asked(&self) -> Option<(SocketAddr, bool)> {
        self.association.as_ref().map(|association| (association.address(), association.has_answered))
    }

    /// The device that is asked, by the name that it advertises itself with.
    #[must_use]
    pub fn asked_device(&self) -> Option<&str> {
        let server = self.association.as_ref()?.server?;
        self.peers.get(server).map(|peer| peer.advert.device.as_str())
    }

    /// The other devices that say that they lead, with what they said.
    pub fn leaders(&self, now: Timestamp<Local>) -> impl Iterator<Item = &TimeAdvert> {
        self.peers.iter().filter(move |peer| peer.leads(now)).map(|peer| &peer.advert)
    }

    /// Time has passed. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp<Local>) {
        if !self.time.is_leading() || self.association.is_some() {
            self.client.handle_timeout(now);
            self.carry_out_client(now);
        }
        if now >= self.next_tick.min(self.election_due()) {
            self.next_tick = now + TICK;
            self.peers.expire(now);
            self.decide(now);
        }
    }

    /// Another device has told of its time service.
    pub fn handle_advert(&mut self, advert: TimeAdvert, now: Timestamp<Local>) {
        if advert.server == self.config.identity.device {
            return;
        }
        self.heed_leader(&advert, now);
        if advert.kind == AdvertKind::Leads {
            self.note_leader(advert.server, now);
        }
        let urgent = advert.kind != AdvertKind::Serves || !self.knows_time();
        self.peers.note(advert, now);
        if urgent {
            self.decide(now);
        }
    }

    /// If the leader that is followed says that its time is in doubt, or another one now, this clock is not in sync from now on. The
    /// next response would tell it too, but up to four seconds later.
    fn heed_leader(&mut self, advert: &TimeAdvert, now: Timestamp<Local>) {
        let (Some(time), Some(upstream)) = (&advert.time, self.client.upstream()) else { return };
        let followed = upstream.field.filter(|field| field.leader == advert.server);
        let doubtful = followed.is_some_and(|field| !time.settled || time.scale.id != field.timescale);
        if doubtful && !self.time.is_leading() {
            self.client.doubt(now);
            self.carry_out_client(now);
        }
    }

    /// A client at `from` has asked this device's server, and told `field` of itself. So a leader that comes back learns that
    /// the rig has a time scale even without a control plane.
    pub fn handle_client(&mut self, from: IpAddr, field: &RigField, now: Timestamp<Local>) {
        let rig = self.config.identity.rig;
        let tells = field.timescale != 0 && field.port != 0 && (field.rig == rig || field.rig == 0);
        if !tells || self.knows_time() || self.peers.get(field.server()).is_some_and(|it| it.heard == now) {
            return;
        }
        // What its clock reads is not told: the scale is as old as the wall clock says, for now.
        let wall = wall_time(now, self.config.wall);
        let advert = TimeAdvert {
            server: field.server(),
            device: from.to_string(),
            kind: AdvertKind::Serves,
            priority: u8::MAX,
            clock_class: u8::MAX,
            time: Some(AdvertisedTime::of_field(field, wall)),
            addresses: vec![SocketAddr::new(from, field.port)],
            room: 1,
        };
        self.handle_advert(advert, now);
    }

    /// The addresses of the named servers, the likeliest first.
    pub fn handle_addresses(&mut self, addresses: Vec<SocketAddr>, now: Timestamp<Local>) {
        self.resolving = false;
        self.denied.retain(|(_, until)| *until > now);
        let addresses: Vec<_> =
            addresses.into_iter().filter(|it| self.denied.iter().all(|(denied, _)| denied != it)).collect();
        if self.association.is_none() && !addresses.is_empty() {
            self.associate(None, addresses, now);
        }
    }

    /// A request has left; `sent` is its transmit timestamp.
    pub fn handle_sent(&mut self, token: SendToken, sent: Timestamp<Local>) {
        self.client.handle_sent(token, sent);
    }

    /// A datagram has come from the address that is asked; `received` is its receive timestamp.
    pub fn handle_datagram(&mut self, bytes: &[u8], received: Timestamp<Local>) {
        if self.association.is_some() {
            self.client.handle_datagram(bytes, received);
            self.note_response();
            self.carry_out_client(received);
        }
    }

    /// What this device tells the others of its time service. The caller adds its addresses.
    #[must_use]
    pub fn advert(&self, now: Timestamp<Local>) -> TimeAdvert {
        let NodeConfig { device, identity, can_lead, priority, clock_class, .. } = self.config.clone();
        Advertiser { device, identity, can_lead, priority, clock_class }.advert(&self.time, now)
    }

    fn knows_time(&self) -> bool {
        self.time.scale().is_some()
    }

    /// Its own claim to lead.
    fn claim(&self, now: Timestamp<Local>) -> Claim {
        Claim {
            scale: self.time.scale().map(|scale| (scale, self.time.served_at(now))),
            priority: self.config.priority,
            clock_class: self.config.clock_class,
            server: self.config.identity.device,
        }
    }

    /// What it tells of itself in requests.
    fn request_field(&self, now: Timestamp<Local>) -> RigField {
        let NodeConfig { identity, port, .. } = &self.config;
        let field = match self.knows_time() {
            true => self.time.server_status(identity, now).field,
            false => RigField::default(),
        };
        RigField { rig: self.config.client.rig, port: *port, ..field }
    }

    /// Carries out what the client wants.
    fn carry_out_client(&mut self, now: Timestamp<Local>) {
        while let Some(action) = self.client.poll_action() {
            match action {
                ClientAction::Send { datagram, token } => self.send(datagram, token, now),
                ClientAction::Publish(update) => self.handle_update(update, now),
                ClientAction::Refused(refusal) => self.handle_refusal(refusal, now),
            }
        }
    }

    /// The client has an estimate, or its quality has changed.
    fn handle_update(&mut self, update: ClockUpdate, now: Timestamp<Local>) {
        let led = self.time.is_leading();
        if led && !self.resigns_for(&update, now) {
            return;
        }
        self.time.follow(update, now);
        self.actions.push_back(NodeAction::Follow(update));
        if led {
            self.advertise(now); // that it does not lead any more
        }
    }

    fn lead(&mut self, start: LeadStart, now: Timestamp<Local>) {
        self.leave_association();
        self.time.lead(now, start);
        self.actions.push_back(NodeAction::Lead { at: now, start });
        self.advertise(now);
    }

    fn advertise(&mut self, now: Timestamp<Local>) {
        self.next_advert = now + ADVERT_INTERVAL;
        self.actions.push_back(NodeAction::Advertise);
    }
}

/// The wall clock as the origin of rig time.
#[must_use]
pub(super) fn wall_time(now: Timestamp<Local>, wall: Span) -> Timestamp<Rig> {
    Timestamp::from_nanos(now.as_nanos()) + wall
}

#[cfg(test)]
mod tests {
    use super::ERA;
    use crate::ntp::NtpTimestamp;
    use crate::time::Timestamp;

    #[test]
    fn no_rig_time_is_taken_for_one_of_another_era() {
        // 1970, 2026, 2036 before and after NTP's seconds begin anew, 2040, 2100.
        for seconds in [0, 1_795_000_000, 2_085_978_495, 2_085_978_496, 2_230_000_000, 4_100_000_000] {
            let at = Timestamp::from_nanos(seconds * 1_000_000_000);
            assert_eq!(NtpTimestamp::from_rig(at).to_rig(ERA), at);
        }
    }
}
