//! What clients send. The words are those of the commands' arguments.

use serde::Deserialize;
use swsync_cli::documents::TargetArgs;
use swsync_cli::duration;
use swsync_client::OrderRequest;
use swsync_core::camera_settings::Assignments;
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::{MAX_BURST, MAX_STILLS};
use swsync_core::status::Quorum;
use swsync_core::time::Span;

use crate::failure::Failure;

const TIMES: &str = "write it like 500ms, 10s or 1m30s";

/// As `swsync shoot`: stills of every device.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShootRequest {
    /// So long from now, like 500ms, 2s or 1m30s; 0s: the moment of the press, out of the ring buffers where it has passed.
    #[serde(rename = "in")]
    pub after: Option<String>,
    /// So long ago: out of the ring buffers.
    pub ago: Option<String>,
    /// Frames one after another, from that instant on; with `every` so many stills.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub count: Option<u32>,
    /// A still every so often, until there are `count`, or until the order is stopped.
    pub every: Option<String>,
    /// Name of the order, and so of its folder. Without it, one is made of date and time.
    pub id: Option<OrderId>,
    /// Only these devices, or the devices of these groups.
    #[serde(default)]
    pub to: Vec<Name>,
    /// How many devices must be ready: `all`, or a number. Without it, the order is given whoever is ready.
    pub need: Option<String>,
}

/// As `swsync record`: a take of every device.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// So long from now.
    #[serde(rename = "in")]
    pub after: Option<String>,
    /// For so long; without it until the order is stopped.
    #[serde(rename = "for")]
    pub length: Option<String>,
    /// Name of the order, and so of its folder. Without it, one is made of date and time.
    pub id: Option<OrderId>,
    /// Only these devices, or the devices of these groups.
    #[serde(default)]
    pub to: Vec<Name>,
    /// How many devices must be ready: `all`, or a number. Without it, the order is given whoever is ready.
    pub need: Option<String>,
}

/// What is asked for, checked.
#[derive(Debug)]
pub struct Wanted {
    /// The order, in the operator's terms.
    pub order: OrderRequest,
    /// The devices.
    pub to: TargetArgs,
    /// How many must be ready.
    pub need: Option<Quorum>,
}

fn span(name: &str, text: &str) -> Result<Span, Failure> {
    let length =
        duration::any(text).map_err(|why| Failure::usage(format!("{name}: {text:?}: {why}"), TIMES))?;
    Ok(Span::from(length))
}

fn positive(name: &str, text: &str) -> Result<Span, Failure> {
    let length =
        duration::positive(text).map_err(|why| Failure::usage(format!("{name}: {text:?}: {why}"), TIMES))?;
    Ok(Span::from(length))
}

impl Wanted {
    fn new(
        order: OrderRequest,
        id: Option<OrderId>,
        to: Vec<Name>,
        need: Option<&str>,
    ) -> Result<Self, Failure> {
        let need = need.map(str::parse::<Quorum>).transpose();
        let need = need.map_err(|why| Failure::usage(format!("need: {why}"), "write \"all\" or \"3\""))?;
        let order = match id {
            Some(id) => order.named(id),
            None => order,
        };
        Ok(Self { order, to: TargetArgs::new(to), need })
    }
}

impl ShootRequest {
    /// Checks it.
    ///
    /// # Errors
    /// A value is none, or two exclude each other.
    pub fn wanted(self) -> Result<Wanted, Failure> {
        let most = if self.every.is_some() { MAX_STILLS } else { MAX_BURST };
        if let Some(count) = self.count.filter(|count| !(1..=most).contains(count)) {
            return Err(Failure::usage(format!("count: {count} is not 1 to {most}"), "ask for fewer frames"));
        }
        let order = match (&self.every, self.count) {
            (Some(every), count) => OrderRequest::time_lapse(positive("every", every)?, count),
            (None, Some(count)) => OrderRequest::burst(count),
            (None, None) => OrderRequest::still(),
        };
        let order = match (&self.after, &self.ago) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("in and ago exclude each other", "leave one of them out"));
            }
            (Some(after), None) => order.after(span("in", after)?),
            (None, Some(ago)) => order.after(Span::ZERO - span("ago", ago)?),
            (None, None) => order,
        };
        Wanted::new(order, self.id, self.to, self.need.as_deref())
    }
}

impl RecordRequest {
    /// Checks it.
    ///
    /// # Errors
    /// A value is none.
    pub fn wanted(self) -> Result<Wanted, Failure> {
        let length = self.length.as_deref().map(|length| positive("for", length)).transpose()?;
        let order = OrderRequest::take(length);
        let order = match &self.after {
            Some(after) => order.after(span("in", after)?),
            None => order,
        };
        Wanted::new(order, self.id, self.to, self.need.as_deref())
    }
}

/// Which devices, in the address of a request: `?to=left,pi7`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ToQuery {
    /// Only these devices, or the devices of these groups, separated by commas.
    pub to: Option<String>,
}

/// Reads names separated by commas.
///
/// # Errors
/// One is no name.
pub fn names(list: Option<&str>) -> Result<Vec<Name>, Failure> {
    let parts = list.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        Name::new(part).map_err(|error| {
            Failure::usage(
                format!("{part:?} is no name: {error}"),
                "name devices or groups, with commas between",
            )
        })
    };
    parts.map(read).collect()
}

/// As `swsync set`: what cameras are set to, all from one frame number on.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// What controls are set to, by their names; null: back to what the pipeline's properties say.
    #[cfg_attr(feature = "schema", schemars(with = "std::collections::BTreeMap<String, serde_json::Value>"))]
    pub assign: Assignments,
    /// Only these devices, or the devices of these groups.
    #[serde(default)]
    pub to: Vec<Name>,
    /// Whether devices that can take it are set even if others cannot.
    #[serde(default)]
    pub partial: bool,
}

/// As `swsync lock 3a`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// Only these devices, or the devices of these groups.
    #[serde(default)]
    pub to: Vec<Name>,
    /// The device whose values all get; without it, the means of all.
    pub from: Option<DeviceId>,
}

/// Which devices.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ToRequest {
    /// Only these devices, or the devices of these groups.
    #[serde(default)]
    pub to: Vec<Name>,
}

/// As `swsync preset save`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SavePresetRequest {
    /// Only these devices, or the devices of these groups.
    #[serde(default)]
    pub to: Vec<Name>,
    /// Replace a preset of this name.
    #[serde(default)]
    pub force: bool,
}

/// As `swsync note`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NoteRequest {
    /// One line of at most 1000 bytes; empty: the note is removed.
    pub text: String,
}

/// The token that `swsync dashboard` printed.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// It.
    pub token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shoot(json: &str) -> Result<Wanted, String> {
        let request: ShootRequest = serde_json::from_str(json).map_err(|error| error.to_string())?;
        request.wanted().map_err(|failure| match failure {
            Failure::Error(_, report) => report.message,
            Failure::Conflict(document) => document.to_string(),
        })
    }

    #[test]
    fn orders_are_written_as_for_the_command() {
        assert_eq!(shoot("{}").unwrap().order, OrderRequest::still());
        let past = shoot(r#"{"ago": "500ms", "count": 3}"#).unwrap();
        assert_eq!(past.order, OrderRequest::burst(3).after(Span::from_millis(-500)));
        let lapse = shoot(r#"{"every": "10s", "in": "0s", "need": "2"}"#).unwrap();
        let expected = OrderRequest::time_lapse(Span::from_secs(10), None).after(Span::ZERO);
        assert_eq!((lapse.order, lapse.need), (expected, Some(Quorum::AtLeast(2))));
        let record: RecordRequest = serde_json::from_str(r#"{"for": "1m"}"#).unwrap();
        assert_eq!(record.wanted().unwrap().order, OrderRequest::take(Some(Span::from_secs(60))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, what) in [
            (r#"{"ago": "1s", "in": "1s"}"#, "exclude each other"),
            (r#"{"ago": "soon"}"#, "ago: \"soon\""),
            (r#"{"count": 0}"#, "count: 0 is not 1 to"),
            (r#"{"every": "0s"}"#, "every: \"0s\": it has to be longer"),
            (r#"{"need": "most"}"#, "need: \"most\""),
        ] {
            let error = shoot(json).unwrap_err();
            assert!(error.contains(what), "{json}: {error}");
        }
        assert!(names(Some("a, b,")).unwrap().len() == 2 && names(Some("a/b")).is_err());
        assert!(names(None).unwrap().is_empty());
    }
}
