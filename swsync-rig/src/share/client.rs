//! The client's side of sharing: one request for a device's files.

use std::sync::mpsc;
use std::time::Duration;

use swsync_core::message::{MessageError, encode};
use swsync_core::name::DeviceId;

use super::message::{FileReply, FileRequest, unframe};
use crate::Session;

impl Session {
    /// Sends a request for files to `device`, and returns the first reply with the bytes that follow it. `None`: there was no
    /// reply within `timeout`.
    ///
    /// # Errors
    /// What is wrong with a malformed reply.
    pub fn request_files(
        &self,
        device: &DeviceId,
        request: &FileRequest,
        timeout: Duration,
    ) -> Result<Option<(FileReply, Vec<u8>)>, MessageError> {
        let (tx, rx) = mpsc::channel();
        self.ask(&self.keys().files_named(device), Some(encode(request)), timeout, move |reply| {
            let _ = tx.send(reply); // only the first reply is waited for
        });
        // The query of an instance that has lost power ends without a reply.
        for reply in rx {
            match reply {
                Ok((_, framed)) => {
                    let (reply, bytes) = unframe(&framed)?;
                    return Ok(Some((reply, bytes.to_owned())));
                }
                Err(why) => swsync_core::log::debug!(%device, why, "no reply for its files"),
            }
        }
        Ok(None)
    }
}
