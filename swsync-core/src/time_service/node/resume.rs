//! What a device does after it has slept.

use super::election::Election;
use super::peers::Peers;
use super::{Node, NodeAction};
use crate::time::{Local, Span, Timestamp};
use crate::time_service::rig_time::AFTER_SLEEP;

impl Node {
    /// The device has slept for `slept`: its local clock stood still, and reads `now`. Call [`RigTime::handle_resume`] of the clock
    /// that readers use too, before anything else.
    ///
    /// Others may lead by now, or have begun another time scale. So a leader stands down and listens. If nobody else leads after
    /// five seconds, it goes on in the same scale: its boot-time clock kept that to some milliseconds, and nobody has a better claim.
    ///
    /// [`RigTime::handle_resume`]: super::RigTime::handle_resume
    pub fn handle_resume(&mut self, slept: Span, now: Timestamp<Local>) {
        let scale = self.known_scale(now);
        self.time.handle_resume(slept, now);
        self.peers = Peers::default();
        if self.time.is_leading() {
            self.time.stand_down();
            self.actions.push_back(NodeAction::StandDown);
            self.leave_association();
            self.client.forget();
            self.client.go_on_from(*self.time.map(), scale.map(|scale| scale.id), now);
        } else {
            self.client.handle_resume(slept, now);
            self.carry_out_client(now);
        }
        self.election = Election::new(now, scale);
        self.election.begin_at = now + AFTER_SLEEP;
        self.election.listens_until = now + AFTER_SLEEP;
        self.next_question = now;
        self.next_tick = now;
        self.actions.push_back(NodeAction::Ask);
        self.advertise(now);
    }
}
