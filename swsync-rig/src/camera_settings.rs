//! Requests to devices that concern the settings of their cameras.

use std::time::Duration;

use swsync_core::camera_settings::{SettingsReply, SettingsRequest};
use swsync_core::message::encode;
use swsync_core::order::Targets;

use crate::hub::keeper::Note;
use crate::keys::{KeepKind, QueryKind};
use crate::placement::SETTLE;
use crate::{DeviceReply, Session};

impl Session {
    /// Sends `request` to every device among `targets`, and returns once each has answered, after `timeout` at most. Sorted by device.
    ///
    /// Changes go to all devices of the rig, whomever they concern: each keeps them for those that come later. The hubs keep them
    /// too.
    #[must_use]
    pub fn settings(
        &self,
        request: &SettingsRequest,
        targets: &Targets,
        timeout: Duration,
    ) -> Vec<DeviceReply<SettingsReply>> {
        let note = match request {
            SettingsRequest::Set { change, .. } => Some(Note::Settings(change.clone())),
            SettingsRequest::Withdraw { change } => Some(Note::Withdrawn(change.clone())),
            SettingsRequest::Check { .. } | SettingsRequest::Outcome { .. } | SettingsRequest::Report => None,
        };
        if let Some(note) = note {
            self.ask(&self.keys().keep_all(KeepKind::Note), Some(encode(&note)), SETTLE, |_| ());
        }
        self.poll(QueryKind::Settings, Some(&encode(request)), targets, timeout)
    }
}
