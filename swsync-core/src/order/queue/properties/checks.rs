//! What must hold after every run.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::device::Device;
use super::grid;
use super::picture::Picture;
use crate::coded::Coding;
use crate::order::Order;
use crate::order::queue::FramePurpose;

/// There is an answer, it accounts for the frames that the order names (and those after a late stop), and agrees with the
/// disk.
pub fn check_account(order: &Order, device: &Device<'_>) -> Result<(), TestCaseError> {
    let Some(answer) = device.answers.get(order.id()) else {
        return Err(TestCaseError::fail(format!("no answer to {order:?}")));
    };
    prop_assert_eq!(&answer.unnumbered, &None);
    let unstopped = order.unstopped().named(grid());
    let mut account = BTreeMap::new();
    let mut after = 0;
    for run in &answer.frames {
        prop_assert!(run.first >= after && run.last >= run.first, "{:?}", answer);
        after = run.last + 1;
        let numbers: Vec<_> =
            std::iter::successors(unstopped.next_from(run.first), |n| unstopped.next_from(n + 1))
                .take_while(|n| *n <= run.last)
                .collect();
        prop_assert_eq!(numbers.len() as u64, run.count, "{:?}", answer);
        for number in numbers {
            account.insert(number, run.saved() > 0);
        }
    }
    if let (Some(all), false) = (order.named(grid()).iter(), device.cut_short.contains(order.id())) {
        let mut expected: Vec<_> = all.collect();
        let numbers: Vec<_> = account.keys().copied().collect();
        for _ in 0..device.late.get(order.id()).copied().unwrap_or(0) {
            // A restart forgets frames after the stop that are not on disk.
            if !device.world.cuts.is_empty() && numbers == expected {
                break;
            }
            let after = expected.last().map_or(unstopped.first(), |last| last + 1);
            expected.extend(unstopped.next_from(after));
        }
        prop_assert_eq!(numbers, expected, "{:?} of {:?}", answer, order);
    }
    let disk = device.copies_on_disk(order.id());
    let saved: Vec<_> = account.iter().filter(|(_, saved)| **saved).map(|(n, _)| *n).collect();
    prop_assert_eq!(saved, disk.keys().copied().collect::<Vec<_>>(), "{:?} of {:?}", answer, order);
    prop_assert!(disk.values().all(|copies| *copies == 1), "{:?}", disk);
    Ok(())
}

/// Every file begins with a key frame, and every frame that depends on others comes right after them.
pub fn check_decodable(device: &Device<'_>) -> Result<(), TestCaseError> {
    for (file, frames) in &device.disk {
        let mut last: Option<Picture> = None;
        // Place of the key frame since which no frame is missing.
        let mut begin = 0;
        for (picture, number, _) in frames {
            let place = picture.place;
            let before = last.filter(|last| last.run == picture.run && last.place < place);
            let between = before.map(|last| place - last.place - 1);
            // It may come without the leading frames before it.
            let is_next = between.is_some_and(|between| between <= picture.leading);
            let is_there = match picture.coding {
                Coding::Key | Coding::OpenKey => {
                    begin = if is_next { begin } else { place };
                    true
                }
                Coding::Delta => is_next,
                Coding::Leading => between == Some(0) && begin < picture.key,
                Coding::Undecodable | Coding::UndecodableLeading => false,
            };
            prop_assert!(is_there, "{:?}: frame {} in {:?}", file, number, frames);
            last = Some(*picture);
        }
        let named = frames.last().is_some_and(|(.., purpose)| *purpose == FramePurpose::Named);
        // A power cut may come between a lead-in and its named frame.
        prop_assert!(named || !device.world.cuts.is_empty(), "{:?} ends with a lead-in", file);
    }
    Ok(())
}
