//! No frame is marked synced that is not: pictures of one number, of devices with the same time, show the same instant, within what the
//! devices say of their uncertainty and of the phase. The LED panel in each picture tells when it was taken; no clock is asked.

use std::collections::BTreeMap;

use serde_json::json;
use swsync_core::grid::FrameNumber;
use swsync_core::time::Span;

use super::agreement::{Member, contradiction, describe, figures};
use super::runs::TimedPicture;
use super::{Finding, Runs, When};
use crate::chaos::reading::Whose;

/// What the time in a frame's meta may be off beside the clock, half of it: the tolerance of `swsyncsrc` for the phase, which its filter of
/// the sensor's stamps keeps, and the resolution of the panel.
const TOLERANCE: Span = Span::from_micros(40);

/// Compares all pictures of frames that are marked synced.
pub fn check(runs: &Runs, when: &When) -> Finding {
    let mut same: BTreeMap<(FrameNumber, Whose), Vec<&TimedPicture>> = BTreeMap::new();
    let synced = runs.pictures.iter().filter(|picture| picture.record.info.sync.is_synced());
    let mut count = 0;
    for picture in synced {
        count += 1;
        if let Some(whose) = picture.whose {
            same.entry((picture.record.info.number, whose)).or_default().push(picture);
        }
    }
    let mut violations = runs.unreadable.clone();
    let mut apart = Vec::new();
    for ((number, _), pictures) in same.into_iter().filter(|(_, pictures)| pictures.len() > 1) {
        let members: Vec<_> = pictures.iter().map(|picture| member(picture)).collect();
        let what = format!("frame {number} at {}", when.seconds(pictures[0].at));
        violations.extend(contradiction(&what, &members, TOLERANCE));
        let offsets = || members.iter().map(|member| member.offset);
        apart.push(offsets().max().unwrap_or_default() - offsets().min().unwrap_or_default());
    }
    apart.sort();
    Finding {
        what: "no frame is marked synced that is not",
        figures: format!(
            "{} pictures, {count} of frames marked synced; of {} numbers that several devices have, {} apart by the panel in them",
            runs.pictures.len(),
            apart.len(),
            describe(&apart)
        ),
        json: json!({
            "pictures": runs.pictures.len(), "synced": count, "numbers": apart.len(), "apart": figures(&apart),
        }),
        violations,
    }
}

/// The clock of a picture's device, as the picture proves it.
fn member(picture: &TimedPicture) -> Member {
    let info = &picture.record.info;
    Member {
        device: picture.device,
        offset: Span::from_nanos(info.rig_time_ns.as_nanos() - picture.at.as_nanos()),
        sigma: info.clock_uncertainty_ns.unwrap_or(Span::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{frame, name};
    use swsync_core::frame::{FrameInfo, SyncState};
    use swsync_core::manifest::FrameRecord;
    use swsync_core::time::Timestamp;

    fn picture(device: usize, taken_us: i64, sync: SyncState, leader: u64) -> TimedPicture {
        let rig = Timestamp::from_nanos(1_800_000_000_000_000_000);
        let info = FrameInfo {
            rig_time_ns: rig,
            clock_uncertainty_ns: Some(Span::from_micros(10)),
            sync,
            ..frame(10)
        };
        let record = FrameRecord {
            order: name("o"),
            device: name("a"),
            file: "a.jpg".into(),
            offset: 0,
            bytes: 1,
            info,
        };
        let at = Timestamp::from_nanos(taken_us * 1_000);
        TimedPicture { device, record, at, whose: Some(Whose { timescale: 1, leader }) }
    }

    #[test]
    fn pictures_taken_apart_are_found_if_they_claim_otherwise() {
        use SyncState::{Holdover, Synced};
        let violations = |other| {
            let pictures = vec![picture(0, 0, Synced, 1), other];
            check(&Runs { pictures, ..Runs::default() }, &When(Timestamp::ZERO)).violations.len()
        };
        assert_eq!(violations(picture(1, 80, Synced, 1)), 0);
        assert_eq!(violations(picture(1, 200, Synced, 1)), 1);
        assert_eq!(violations(picture(1, 200, Holdover, 1)), 0);
        assert_eq!(violations(picture(1, 200, Synced, 2)), 0);
    }
}
