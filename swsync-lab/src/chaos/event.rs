//! What happens during a run.

use swsync_core::time::{Host, Span, Timestamp};

use super::protocol::Observation;
use crate::network::Side;

/// Something that the lab is told.
pub enum Event {
    /// By an observer.
    Observed { side: Side, observation: Observation },
    /// By a device's bus.
    Bus { device: usize, at: Timestamp<Host>, message: BusMessage },
}

/// What a swsyncclock says on the bus of its pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusMessage {
    /// Its state is another one.
    State(String),
    /// It was stepped.
    Stepped { by: Span, anew: bool },
    /// The pipeline has to take another clock.
    ClockLost,
}

impl BusMessage {
    /// The message in a line of `gst-launch-1.0 -m`.
    pub fn of(line: &str) -> Option<Self> {
        let (header, body) = line.strip_prefix("Got message ")?.split_once("): ")?;
        if header.ends_with("(clock-lost") {
            return Some(Self::ClockLost);
        }
        if !header.ends_with("(element") {
            return None;
        }
        let (name, fields) = body.split_once(", ")?;
        let field = |name: &str| {
            let (_, value) = fields.split_once(&format!("{name}=("))?;
            let (_, value) = value.split_once(')')?;
            Some(value.split([',', ';']).next()?.trim_matches('"'))
        };
        match name {
            "swsync-clock" => Some(Self::State(field("state")?.to_owned())),
            "swsync-clock-stepped" => Some(Self::Stepped {
                by: Span::from_nanos(field("by")?.parse().ok()?),
                anew: field("anew")? == "true",
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_from_the_lines_of_gst_launch() {
        let line =
            |rest: &str| BusMessage::of(&format!("Got message #21 from element \"swsyncclock0\" {rest}"));
        assert_eq!(
            line(
                "(element): swsync-clock, state=(string)synced, since=(gint64)12, leader=(string)10.87.0.1:11123;"
            ),
            Some(BusMessage::State("synced".into()))
        );
        assert_eq!(
            line(
                "(element): swsync-clock-stepped, by=(gint64)-2500000000, held-for=(gint64)0, anew=(boolean)true;"
            ),
            Some(BusMessage::Stepped { by: Span::from_millis(-2500), anew: true })
        );
        assert_eq!(
            line("(clock-lost): GstMessageClockLost, clock=(GstClock)\"\\(SwsyncClock\\)\\ clock0\";"),
            Some(BusMessage::ClockLost)
        );
        assert_eq!(line("(element): swsync-phase, state=(string)locked;"), None);
        assert_eq!(line("(latency): no message details"), None);
        assert_eq!(BusMessage::of("Setting pipeline to PLAYING ..."), None);
    }
}
