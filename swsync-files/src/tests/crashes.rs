//! Crashes and power cuts at any moment: files with a final name are whole, and frames reported as saved are there.

use proptest::prelude::*;
use swsync_core::grid::FrameNumber;
use swsync_core::time::Timestamp;

use super::*;

/// The work of a device.
#[derive(Debug, Clone)]
struct Work {
    videos: bool,
    durability: Durability,
    max_files: Option<u32>,
    /// Number of frames that are saved at a time, which is a file for videos.
    sizes: Vec<u64>,
}

/// What the device has reported: saved frames, and the number before which they are removed again.
#[derive(Debug, Default)]
struct Reported {
    saved: Vec<FrameNumber>,
    gone_before: FrameNumber,
}

/// Does the work.
fn work(folder: &mut TakeFolder, work: &Work) -> Reported {
    let mut reported = Reported::default();
    let mut next = 100;
    for (size, index) in work.sizes.iter().zip(0..) {
        let numbers: Vec<_> = (next..next + size).collect();
        next += size;
        match work.videos {
            true => reported.saved.extend(record(folder, index, &numbers).unwrap_or_default()),
            false => reported.saved.extend(save(folder, &numbers)),
        }
        if let Ok(Some(removal)) = folder.remove_surplus() {
            reported.gone_before = removal.before;
        }
    }
    if folder.finish(next - 100, Vec::new(), Timestamp::ZERO).is_err() {
        // The answer is given. The next start writes the missing side files.
    }
    reported
}

/// Asserts what must hold after a crash and the next start.
fn assert_consistent(disk: &SimulatedDisk, work: &Work, reported: &Reported) {
    let Work { durability, max_files, .. } = *work;
    let (folder, records) = open_loop(disk, durability, max_files);
    assert!(leftovers(disk).is_empty(), "{:?}", leftovers(disk));
    let recorded: Vec<_> = records.iter().map(|record| record.info.number).collect();
    let removed = folder.take().removed.as_ref().map_or(0, |removed| removed.before);
    assert!(removed >= reported.gone_before, "reported removals are known");
    assert!(recorded.iter().all(|number| *number >= removed), "{recorded:?}");
    for number in &reported.saved {
        let is_there = recorded.contains(number) || *number < removed;
        assert!(is_there, "{number} was reported as saved: {recorded:?}");
    }
    let files = finished(disk);
    if let Some(max) = max_files {
        assert!(files.len() <= max as usize, "{:?}", files.keys());
        // Files are removed only for newer ones.
        assert!(removed == 0 || files.len() == max as usize, "{:?}", files.keys());
    } else {
        assert_eq!(removed, 0);
    }
    for record in &records {
        assert!(files.contains_key(&record.file), "{} is in the manifest", record.file);
    }
    for (file, bytes) in files.iter().filter(|(file, _)| file.ends_with("raw")) {
        let number = file[..8].parse().unwrap();
        assert_eq!(*bytes, content(number), "{file}");
        assert!(recorded.contains(&number), "{file} is not in the manifest");
    }
    assert_videos_are_whole(disk, &records);
    let (mut folder, again) = open_loop(disk, durability, max_files);
    assert_eq!(again, records, "a second start changes nothing");
    // The device goes on.
    assert_eq!(save(&mut folder, &[900]), [900]);
}

fn works(durability: impl Strategy<Value = Durability>) -> impl Strategy<Value = Work> {
    let sizes = proptest::collection::vec(1_u64..6, 1..7);
    let parts = (any::<bool>(), durability, proptest::option::of(1_u32..5), sizes);
    parts.prop_map(|(videos, durability, max_files, sizes)| Work { videos, durability, max_files, sizes })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `kill -9`: the system keeps all that was written.
    #[test]
    fn a_killed_device_leaves_whole_files(
        work in works(prop_oneof![Just(Durability::Safe), Just(Durability::Fast)]), at in 0_u64..10_000,
    ) {
        let (disk, reported) = crash(&work, at);
        disk.die_after(None);
        assert_consistent(&disk, &work, &reported);
    }

    /// A power cut: unflushed data is there, or missing, or zeros.
    #[test]
    fn a_power_cut_leaves_whole_files(
        work in works(Just(Durability::Safe)), at in 0_u64..10_000, seed in any::<u64>(),
    ) {
        let (disk, reported) = crash(&work, at);
        let mut state = seed;
        disk.cut_power(&mut |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        });
        assert_consistent(&disk, &work, &reported);
    }
}

/// A device that dies at one of its changing calls. Returns the disk, and what the device reported.
fn crash(plan: &Work, at: u64) -> (SimulatedDisk, Reported) {
    let rehearsal = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&rehearsal, plan.durability, plan.max_files);
    work(&mut folder, plan);
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&disk, plan.durability, plan.max_files);
    disk.die_after(Some(at % (rehearsal.calls() + 1)));
    let reported = work(&mut folder, plan);
    drop(folder); // its calls fail too
    (disk, reported)
}
