//! Encoding of the messages of the control plane: JSON with a version.
//!
//! [`decode`] checks the version, and each type checks its fields while it is parsed: the rest of the program can trust
//! what it gets.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the messages. A receiver refuses any other.
pub const VERSION: u16 = 2;

/// Longest message that is parsed, in bytes: four times the longest answer.
pub const MAX_MESSAGE: usize = 8 << 20;

/// Why bytes from the network are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than any valid message.
    #[error("a message of {0} bytes is longer than the {MAX_MESSAGE} allowed")]
    TooLong(usize),
    /// Not JSON, or a field is missing, mistyped or out of range.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Sent by another version of swsync.
    #[error("message version {got}, but this swsync speaks {VERSION}: update the older device")]
    Version {
        /// The version of the message.
        got: u16,
    },
}

/// A message with its version.
#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    #[serde(rename = "v")]
    version: u16,
    #[serde(flatten)]
    message: M,
}

#[derive(Deserialize)]
struct VersionOnly {
    #[serde(rename = "v")]
    version: u16,
}

/// Encodes `message` as JSON with the version.
#[must_use]
pub fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    serde_json::to_vec(&Envelope { version: VERSION, message })
        .expect("messages are plain structs with string keys, which JSON can hold")
}

/// Decodes `bytes`.
///
/// # Errors
/// [`MessageError`]: bytes from a network can be anything.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, MessageError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong(bytes.len()));
    }
    let VersionOnly { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(MessageError::Version { got: version });
    }
    Ok(serde_json::from_slice::<Envelope<M>>(bytes)?.message)
}

/// Id of a time scale: a random number. Instants of two time scales are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeScale(pub u64);

impl std::fmt::Display for TimeScale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Greeting {
        to: String,
    }

    fn greeting() -> Greeting {
        Greeting { to: "pi3".into() }
    }

    #[test]
    fn messages_survive_the_wire() {
        assert_eq!(decode::<Greeting>(&encode(&greeting())).unwrap(), greeting());
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let newer = encode(&greeting());
        let newer = String::from_utf8(newer).unwrap().replace("\"v\":2", "\"v\":7");
        let error = decode::<Greeting>(newer.as_bytes()).unwrap_err();
        assert!(matches!(error, MessageError::Version { got: 7 }), "{error}");
    }

    #[test]
    fn oversized_messages_are_not_parsed() {
        let error = decode::<Greeting>(&vec![b' '; MAX_MESSAGE + 1]).unwrap_err();
        assert!(matches!(error, MessageError::TooLong(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<crate::order::Order>(&bytes);
            let _ = decode::<crate::order::Answer>(&bytes);
            let _ = decode::<crate::status::Status>(&bytes);
        }
    }
}
