//! Telling the rig what date it is.

use std::time::Duration;

use swsync_core::message::encode;
use swsync_core::order::Targets;
use swsync_core::rig_date::{RigDate, RigDateReply};

use crate::hub::keeper::Note;
use crate::keys::{KeepKind, QueryKind};
use crate::placement::SETTLE;
use crate::{DeviceReply, Session};

impl Session {
    /// Tells every device what date its time scale stands for, and returns once each has answered, after `timeout` at most. Sorted by
    /// device. The hubs keep it for those that come later.
    #[must_use]
    pub fn give_date(&self, date: &RigDate, timeout: Duration) -> Vec<DeviceReply<RigDateReply>> {
        let note = Note::Date(date.clone());
        self.ask(&self.keys().keep_all(KeepKind::Note), Some(encode(&note)), SETTLE, |_| ());
        self.poll(QueryKind::Date, Some(&encode(date)), &Targets::All, timeout)
    }
}
