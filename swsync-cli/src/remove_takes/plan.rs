//! What may be removed, and why the rest may not.

use swsync_client::RemoteTakes;
use swsync_client::removal::{NotCollected, verify_collected};
use swsync_client::rig_takes::{OrderTake, TakePart};
use swsync_core::name::{DeviceId, OrderId};

use crate::list_takes::named;

/// A part that may be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovablePart {
    pub order: OrderId,
    pub device: DeviceId,
    /// Number of its frames. `None`: not known.
    pub frames: Option<u64>,
    /// Size of its pictures or videos. `None`: not known.
    pub bytes: Option<u64>,
    /// SHA-256 of the list of its files, if it was verified that they are collected.
    pub sha256: Option<String>,
    /// To where it was collected.
    pub collected_by: Option<String>,
}

/// An order that stays, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedOrder {
    pub order: OrderId,
    pub why: Vec<String>,
}

/// What may be removed, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub parts: Vec<RemovablePart>,
    pub refused: Vec<RefusedOrder>,
}

impl Plan {
    /// Of `takes`. With `force` it is not verified whether they are collected. An order stays whole if one of its parts has to.
    pub fn make(
        takes: &[&OrderTake],
        force: bool,
        mut verify: impl FnMut(&OrderTake, &DeviceId, &TakePart) -> Result<String, NotCollected>,
    ) -> Self {
        let mut plan = Self::default();
        for take in takes {
            let mut why = Vec::from_iter(unfinished(take));
            let mut parts = Vec::new();
            for (device, part) in take.parts.iter().filter(|_| why.is_empty()) {
                let sha256 = match force {
                    true => None,
                    false => match verify(take, device, part) {
                        Ok(sha256) => Some(sha256),
                        Err(not) => {
                            parts.push(Err(not.to_string()));
                            continue;
                        }
                    },
                };
                parts.push(Ok(RemovablePart {
                    order: take.order.clone(),
                    device: device.clone(),
                    frames: part.saved(),
                    bytes: part.bytes(),
                    sha256,
                    collected_by: part.summary.collected.as_ref().map(|mark| mark.by.clone()),
                }));
            }
            why.extend(parts.iter().filter_map(|part| part.as_ref().err()).cloned());
            match why.is_empty() {
                true => plan.parts.extend(parts.into_iter().flatten()),
                false => plan.refused.push(RefusedOrder { order: take.order.clone(), why }),
            }
        }
        plan
    }
}

/// Why a take may still change, if so.
fn unfinished(take: &OrderTake) -> Option<String> {
    let order = &take.order;
    let open = take.parts.iter().filter(|(_, part)| part.progress.is_some()).map(|(device, _)| device);
    let open: Vec<_> = open.collect();
    if !open.is_empty() {
        let devices = named(open);
        return Some(format!(
            "{devices} still records it (`swsync stop {order}` or `swsync cancel {order}` ends it)"
        ));
    }
    let unfinished = take.parts.iter().filter(|(_, part)| !part.summary.complete).map(|(device, _)| device);
    let unfinished: Vec<_> = unfinished.collect();
    (!unfinished.is_empty()).then(|| {
        format!(
            "{} has not finished it, and may go on with it: restart the pipeline there, or delete its folder on the device",
            named(unfinished)
        )
    })
}

/// Verifies that a part is collected.
pub fn verify(
    remote: &RemoteTakes<'_>,
    order: &OrderId,
    part: &TakePart,
    host: &str,
    on_file: impl FnMut(),
) -> Result<String, NotCollected> {
    verify_collected(remote, order, part.summary.collected.as_ref(), host, on_file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, progress};
    use std::collections::{BTreeMap, BTreeSet};

    fn take(order: &str, devices: &[(&str, bool)]) -> OrderTake {
        let part = |complete: bool| {
            let summary = serde_json::json!({
                "order": order, "started_ns": 5, "complete": complete, "named": 10, "missing": 2, "bytes": 70,
            });
            TakePart { summary: serde_json::from_value(summary).unwrap(), progress: None }
        };
        let parts: BTreeMap<_, _> =
            devices.iter().map(|(device, complete)| (name(device), part(*complete))).collect();
        OrderTake { order: name(order), parts, lacking: BTreeSet::new() }
    }

    fn plan(take: &OrderTake, force: bool, uncollected: &[&str]) -> Plan {
        Plan::make(&[take], force, |_, device, _| match uncollected.contains(&device.as_str()) {
            true => Err(NotCollected::Unknown { device: device.clone() }),
            false => Ok("aa".into()),
        })
    }

    #[test]
    fn an_order_stays_whole_if_one_part_is_not_collected() {
        let both = take("o", &[("a", true), ("b", true)]);
        let all = plan(&both, false, &[]);
        assert_eq!((all.parts.len(), all.refused.len()), (2, 0));
        assert_eq!((all.parts[0].frames, all.parts[0].sha256.as_deref()), (Some(8), Some("aa")));
        let none = plan(&both, false, &["b"]);
        assert!(none.parts.is_empty());
        assert!(none.refused[0].why[0].contains("b: nobody has collected it"), "{none:?}");
        let forced = plan(&both, true, &["a", "b"]);
        assert!(forced.parts.iter().all(|part| part.sha256.is_none()) && forced.parts.len() == 2);
    }

    #[test]
    fn what_is_recorded_or_unfinished_stays_whatever_is_forced() {
        let mut open = take("o", &[("a", true), ("b", true)]);
        open.parts.get_mut(&name("b")).unwrap().progress = Some(progress("o"));
        for force in [false, true] {
            let refused = plan(&open, force, &[]).refused;
            assert!(refused[0].why[0].contains("b still records it (`swsync stop o`"), "{refused:?}");
            let refused = plan(&take("o", &[("a", false)]), force, &[]).refused;
            assert!(refused[0].why[0].contains("a has not finished it"), "{refused:?}");
        }
    }
}
