//! The recent exchanges of a device's clock with its time server, for a picture of its link: delay against offset.
//!
//! On such a picture honest exchanges fill a wedge. Its point lies at the least delay and at the true offset (plus half the asymmetry of the
//! path); an exchange that waited for d longer lies within d/2 of it, to the side that it waited on. RFC 5905 calls it the wedge scattergram.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::name::DeviceId;
use crate::time::Span;

/// Most exchanges that a device keeps and tells: four minutes at one a second, and some ten kilobytes.
pub const MAX_EXCHANGES: usize = 256;

/// One exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockExchange {
    /// How long ago it ended.
    pub ago_ns: Span,
    /// Its round-trip delay δ.
    pub delay_ns: Span,
    /// The offset that it measured, minus that of the clock as it is now: how far the clock is behind by this exchange alone.
    pub offset_ns: Span,
}

/// The exchanges of a device, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockExchanges {
    /// The device.
    pub device: DeviceId,
    /// At most [`MAX_EXCHANGES`].
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_EXCHANGES>")]
    pub exchanges: Vec<ClockExchange>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode, encode};
    use crate::name::Name;

    #[test]
    fn a_list_is_bounded() {
        for (count, fits) in [(MAX_EXCHANGES, true), (MAX_EXCHANGES + 1, false)] {
            let one = ClockExchange {
                ago_ns: Span::from_secs(1),
                delay_ns: Span::from_millis(2),
                offset_ns: Span::from_micros(-3),
            };
            let told = ClockExchanges { device: Name::new("a").unwrap(), exchanges: vec![one; count] };
            assert_eq!(decode::<ClockExchanges>(&encode(&told)).ok(), fits.then_some(told), "{count}");
        }
    }
}
