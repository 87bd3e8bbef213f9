//! The order of cameras around the rig: which one is next to which.

use std::cmp::Ordering;

use anyhow::ensure;
use serde::Serialize;
use swsync_core::name::DeviceId;

use super::rig_take::RigTake;
use swsync_cli::takes::DeviceTake;

/// What the order of cameras comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderSource {
    /// The user named the devices one after the other.
    Given,
    /// Places that devices have in the rig.
    Places,
    /// The devices' ids, since none has a place.
    Ids,
}

/// Sorts the cameras of `take` around the rig: as `given`, else by their places, else by their ids.
///
/// # Errors
/// A device is named twice.
pub fn sort(take: &mut RigTake, given: &[DeviceId]) -> anyhow::Result<OrderSource> {
    if !given.is_empty() {
        for (index, device) in given.iter().enumerate() {
            ensure!(!given[..index].contains(device), "--order names {device} twice");
        }
        let at = |camera: &DeviceTake| given.iter().position(|device| *device == camera.take.device);
        take.cameras.sort_by_key(at);
        return Ok(OrderSource::Given);
    }
    take.cameras.sort_by(|a, b| natural(a.take.device.as_str(), b.take.device.as_str()));
    Ok(OrderSource::Ids)
}

/// Says which order `take`'s cameras are in, and why.
pub fn describe(take: &RigTake, source: OrderSource) -> String {
    let names: Vec<_> = take.cameras.iter().map(|camera| camera.take.device.as_str()).collect();
    let why = match source {
        OrderSource::Given => "as given",
        OrderSource::Places => "by their places",
        OrderSource::Ids => {
            "by their ids, since no device had a place in this take (`swsync name DEVICE --place N`, or --order a,b,c)"
        }
    };
    format!("order of cameras, {why}: {}", names.join(" "))
}

/// Compares names as people count: pi2 comes before pi10.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let ((one, rest), (other, others)) = (first_part(a), first_part(b));
        let order = match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(m), Ok(n)) => m.cmp(&n).then(one.len().cmp(&other.len())),
            _ => one.cmp(other),
        };
        if order.is_ne() || (one.is_empty() && other.is_empty()) {
            return order;
        }
        (a, b) = (rest, others);
    }
}

/// The digits that `text` begins with, or all up to its first digit; and the rest.
fn first_part(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{device_take, name};

    fn sorted(names: &[&str], given: &[&str]) -> anyhow::Result<(Vec<String>, OrderSource)> {
        let root = tempfile::tempdir().unwrap();
        names.iter().for_each(|device| drop(device_take(root.path(), "o1", device, &[100])));
        let given: Vec<_> = given.iter().map(|device| name(device)).collect();
        let mut take = RigTake::read(&root.path().join("o1"), &given)?;
        let source = sort(&mut take, &given)?;
        Ok((take.cameras.iter().map(|camera| camera.take.device.to_string()).collect(), source))
    }

    #[test]
    fn ids_are_sorted_as_people_count() {
        let (order, source) = sorted(&["pi10", "pi2", "pi1", "pi1b", "pi02", "left"], &[]).unwrap();
        assert_eq!(order, ["left", "pi1", "pi1b", "pi2", "pi02", "pi10"]);
        assert_eq!(source, OrderSource::Ids);
    }

    #[test]
    fn a_given_order_is_followed() {
        let devices = ["a", "b", "c"];
        assert_eq!(sorted(&devices, &["c", "a"]).unwrap(), (vec!["c".into(), "a".into()], OrderSource::Given));
        assert!(sorted(&devices, &["c", "a", "c"]).unwrap_err().to_string().contains("names c twice"));
        assert!(sorted(&devices, &["c", "x"]).is_err());
    }
}
