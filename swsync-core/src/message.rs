//! Encoding of the messages of the control plane: JSON with a version.
//!
//! [`decode`] checks length, number of values, depth and version, and each type checks its fields while it is parsed
//! ([`crate::bounded`]): the rest of the program can trust what it gets.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the messages. A receiver refuses any other.
pub const VERSION: u16 = 2;

/// Longest message that is parsed, in bytes: twice the longest that an honest device sends (a list of 2000 files with long
/// names, 64 open orders for 512 devices each, an answer of 2000 runs).
pub const MAX_MESSAGE: usize = 4 << 20;

/// Longest request to a device that is parsed, in bytes: an order for 512 devices with the longest names has 35 kB. A request
/// is kept until it is answered, so this bounds what strangers can make a device keep.
pub const MAX_REQUEST: usize = 64 << 10;

/// Most values (numbers, texts, lists, objects) of a message: twice those of an answer with a thousand frames. A parser may
/// take 64 bytes for a value of two characters, so a short message could take much memory.
pub const MAX_VALUES: usize = 1 << 17;

/// Deepest nesting of lists and objects in a message. Ours have six levels at most.
pub const MAX_DEPTH: usize = 16;

/// Why bytes from the network are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than any valid message.
    #[error("a message of {0} bytes is longer than the {1} allowed")]
    TooLong(usize, usize),
    /// More values than any valid message has.
    #[error("a message has more than the {MAX_VALUES} values allowed")]
    TooMany,
    /// Nested deeper than any valid message.
    #[error("a message is nested deeper than the {MAX_DEPTH} levels allowed")]
    TooDeep,
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
    decode_within(bytes, MAX_MESSAGE)
}

/// Decodes a request to a device: no longer than [`MAX_REQUEST`].
///
/// # Errors
/// As [`decode`].
pub fn decode_request<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, MessageError> {
    decode_within(bytes, MAX_REQUEST)
}

/// `message` on a line, followed by `bytes`.
#[must_use]
pub fn frame<M: Serialize>(message: &M, bytes: &[u8]) -> Vec<u8> {
    let mut framed = encode(message);
    framed.reserve_exact(1 + bytes.len());
    framed.push(b'\n'); // JSON on one line holds none
    framed.extend_from_slice(bytes);
    framed
}

/// A message and the bytes that follow it, `most` of them at most.
///
/// # Errors
/// [`MessageError`]: bytes from a network can be anything.
pub fn unframe<M: DeserializeOwned>(framed: &[u8], most: usize) -> Result<(M, &[u8]), MessageError> {
    let end = framed.iter().position(|byte| *byte == b'\n').unwrap_or(framed.len());
    let bytes = framed.get(end + 1..).unwrap_or_default();
    match bytes.len() {
        length if length > most => Err(MessageError::TooLong(length, most)),
        _ => Ok((decode(&framed[..end])?, bytes)),
    }
}

fn decode_within<M: DeserializeOwned>(bytes: &[u8], most: usize) -> Result<M, MessageError> {
    if bytes.len() > most {
        return Err(MessageError::TooLong(bytes.len(), most));
    }
    check_shape(bytes)?;
    let VersionOnly { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(MessageError::Version { got: version });
    }
    Ok(serde_json::from_slice::<Envelope<M>>(bytes)?.message)
}

/// The version of swsync that sent `bytes`, as far as a status that cannot be decoded still says so.
#[must_use]
pub fn sender_software(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct SoftwareOnly {
        #[serde(deserialize_with = "crate::bounded::text")]
        software: String,
    }
    if bytes.len() > MAX_MESSAGE || check_shape(bytes).is_err() {
        return None;
    }
    Some(serde_json::from_slice::<SoftwareOnly>(bytes).ok()?.software)
}

/// Checks number and depth of the values in `json` before a parser assembles them. Of what is no JSON it may count too many or
/// too few; the parser refuses that.
fn check_shape(json: &[u8]) -> Result<(), MessageError> {
    let (mut values, mut depth, mut in_text, mut is_escaped) = (1, 0_usize, false, false);
    for byte in json {
        if in_text {
            in_text = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b',' => values += 1,
            b'[' | b'{' => {
                values += 1;
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(MessageError::TooDeep);
        }
        if values > MAX_VALUES {
            return Err(MessageError::TooMany);
        }
    }
    Ok(())
}

/// Id of a time scale: a random number. Instants of two time scales are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        assert!(matches!(error, MessageError::TooLong(..)));
        let padded = [encode(&greeting()), vec![b' '; MAX_REQUEST]].concat();
        assert_eq!(decode::<Greeting>(&padded).unwrap(), greeting());
        assert!(matches!(decode_request::<Greeting>(&padded), Err(MessageError::TooLong(..))));
    }

    #[test]
    fn what_would_take_much_memory_is_not_parsed() {
        let many = format!(r#"{{"v":2,"to":"a","more":[{}0]}}"#, "0,".repeat(MAX_VALUES));
        assert!(matches!(decode::<Greeting>(many.as_bytes()), Err(MessageError::TooMany)));
        let nested =
            |depth| format!(r#"{{"v":2,"to":"a","more":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(decode::<Greeting>(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert!(matches!(decode::<Greeting>(nested(MAX_DEPTH).as_bytes()), Err(MessageError::TooDeep)));
        // In a text they are no values.
        let text = Greeting { to: format!("\\\"{}\"", "[,".repeat(MAX_VALUES)) };
        assert_eq!(decode::<Greeting>(&encode(&text)).unwrap(), text);
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
