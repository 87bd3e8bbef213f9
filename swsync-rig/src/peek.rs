//! Looks at one device: a small picture of a frame of it, and the exchanges of its clock.

use std::sync::mpsc;
use std::time::Duration;

use swsync_core::exchanges::ClockExchanges;
use swsync_core::message::{decode, encode, unframe};
use swsync_core::name::DeviceId;
use swsync_core::thumbnail::{MAX_THUMBNAIL, ThumbnailReply, ThumbnailRequest};

use crate::Session;
use crate::keys::QueryKind;
use crate::queries::UNKNOWN;

/// Why there is nothing to see of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeekError {
    /// No such device is in the rig now.
    #[error("{0} is not in the rig now")]
    Absent(DeviceId),
    /// It did not answer.
    #[error("{device} did not answer within {} ms", .waited.as_millis())]
    Silent {
        /// The device.
        device: DeviceId,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Its version of swsync cannot tell.
    #[error("the swsync of {0} is too old to answer this: update it")]
    Older(DeviceId),
    /// It has none, and says why.
    #[error("{why}")]
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// What it answered cannot be read.
    #[error("the answer of {device} cannot be read: {why}")]
    Malformed {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        why: String,
    },
}

impl Session {
    /// A small picture of a frame of `device`. It is asked once.
    ///
    /// # Errors
    /// [`PeekError`]: why there is none.
    pub fn thumbnail(
        &self,
        device: &DeviceId,
        request: ThumbnailRequest,
        timeout: Duration,
    ) -> Result<ThumbnailReply, PeekError> {
        let framed = self.peek(device, QueryKind::Thumbnail, Some(encode(&request)), timeout)?;
        let read = unframe::<ThumbnailReply>(&framed, MAX_THUMBNAIL);
        let (reply, jpeg) = read.map_err(|error| malformed(device, error.to_string()))?;
        if reply.device != *device || !jpeg.starts_with(&[0xff, 0xd8]) {
            return Err(malformed(device, "it is no picture of this device".into()));
        }
        Ok(ThumbnailReply { jpeg: jpeg.to_vec(), ..reply })
    }

    /// The recent exchanges of the clock of `device`. It is asked once.
    ///
    /// # Errors
    /// [`PeekError`]: why there are none.
    pub fn exchanges(&self, device: &DeviceId, timeout: Duration) -> Result<ClockExchanges, PeekError> {
        let bytes = self.peek(device, QueryKind::Exchanges, None, timeout)?;
        let told = decode::<ClockExchanges>(&bytes);
        told.map_err(|error| malformed(device, error.to_string()))
    }

    fn peek(
        &self,
        device: &DeviceId,
        kind: QueryKind,
        payload: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Vec<u8>, PeekError> {
        let here = self.members().here();
        let Some(member) = here.into_iter().find(|member| member.device == *device) else {
            return Err(PeekError::Absent(device.clone()));
        };
        let (tx, rx) = mpsc::channel();
        self.ask(&self.keys().query(&member, kind), payload, timeout, move |reply| {
            let _ = tx.send(reply); // only the first reply is waited for
        });
        match rx.recv() {
            Ok(Ok((_, bytes))) => Ok(bytes),
            Ok(Err(why)) if why == UNKNOWN => Err(PeekError::Older(device.clone())),
            // Zenoh's own error for a query without a reply; without an error the device was lost meanwhile.
            Ok(Err(why)) if why != "Timeout" => Err(PeekError::Refused { device: device.clone(), why }),
            _ => Err(PeekError::Silent { device: device.clone(), waited: timeout }),
        }
    }
}

fn malformed(device: &DeviceId, why: String) -> PeekError {
    PeekError::Malformed { device: device.clone(), why }
}
