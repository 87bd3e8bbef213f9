//! A take of all cameras: for each camera and frame number the frame, or its substitute.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FrameRecord, NumberSet, check_path};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::Fill;
use swsync_core::share::TakeNote;

use swsync_cli::takes::{self, DeviceTake};

/// A take may have at most so many frames: a day at 100 frames per second.
const MAX_FRAMES: u64 = 10_000_000;

/// A take with all its cameras.
#[derive(Debug)]
pub struct RigTake {
    /// The order.
    pub order: OrderId,
    /// A person's note on it.
    pub note: Option<TakeNote>,
    /// The grid that all cameras are on.
    pub grid: FrameGrid,
    /// The frame numbers that the order names, ascending.
    pub asked: Vec<FrameNumber>,
    /// Those of them that at least one camera has. Only these are filled in on the other cameras.
    pub numbers: Vec<FrameNumber>,
    /// The cameras, by name.
    pub cameras: Vec<DeviceTake>,
}

/// What a camera shows for one frame number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slot<'a> {
    /// The frame itself.
    Frame(&'a FrameRecord),
    /// The previous frame, in its place.
    Repeated(&'a FrameRecord),
    /// A black picture, in its place.
    Black,
    /// Nothing.
    Missing,
}

impl RigTake {
    /// Reads the take in `folder`. If `devices` are named, only theirs.
    pub fn read(folder: &Path, devices: &[DeviceId]) -> anyhow::Result<Self> {
        let folder = folder.canonicalize()?;
        let order = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let order = Name::new(order).context("its folder has the name of its order")?;
        let parent = folder.parent().context("it is no take's folder")?;
        let here = takes::devices(parent, &order);
        if let Some(absent) = devices.iter().find(|device| !here.contains(device)) {
            bail!("it has no device {absent}");
        }
        let wanted = here.iter().filter(|device| devices.is_empty() || devices.contains(device));
        let mut cameras = wanted
            .map(|device| DeviceTake::read(&folder.join(device.as_str())))
            .collect::<Result<Vec<_>, _>>()?;
        cameras.iter_mut().for_each(leave_out_absent_files);
        let Some(first) = cameras.first() else {
            bail!("no device has a take.json there: collect it with `swsync collect`");
        };
        let grid = first.take.grid;
        for camera in &cameras {
            let ((n, d), (m, e)) = (grid.rate(), camera.take.grid.rate());
            let (one, other) = (&first.take.device, &camera.take.device);
            ensure!(
                camera.take.grid == grid,
                "{one} has {n}/{d} frames per second and {other} {m}/{e}: export them one by one with --device"
            );
            for record in &camera.records {
                check_path(&record.file)?;
            }
            if !camera.take.complete {
                eprintln!("swsync: warning: {other} was not done with {order}: its end may be missing");
            }
        }
        // A loop recording begins where the first camera still has files.
        let begin =
            cameras.iter().map(|camera| camera.take.removed.as_ref().map_or(0, |removed| removed.before));
        let begin = begin.min().unwrap_or_default();
        let most = usize::try_from(MAX_FRAMES).unwrap_or(usize::MAX);
        let asked: NumberSet =
            cameras.iter().flat_map(|camera| camera.frames().asked_numbers().take(most + 1)).collect();
        let asked = asked.difference(&NumberSet::from_iter([(0, begin)]));
        ensure!(asked.count() <= MAX_FRAMES, "it names {} frames: more than can be meant", asked.count());
        let there: NumberSet =
            cameras.iter().flat_map(|camera| &camera.records).map(|record| record.info.number).collect();
        let unseen = asked.difference(&there);
        if let Some(text) = left_out(&order, &unseen, asked.count()) {
            eprintln!("swsync: warning: {text}");
        }
        let all = |runs: &NumberSet| -> Vec<_> {
            runs.iter().flat_map(|(first, count)| first..first.saturating_add(count)).collect()
        };
        let note = takes::latest_note(&folder, &here, |device, why| {
            eprintln!(
                "swsync: warning: the note of {device} on {order} cannot be read, and is left out: {why}"
            );
        });
        Ok(Self { order, note, grid, numbers: all(&asked.intersection(&there)), asked: all(&asked), cameras })
    }

    /// What `camera` shows for each of `numbers`, which must be ascending.
    pub fn slots<'a>(
        camera: &'a DeviceTake,
        numbers: &[FrameNumber],
        fill: Fill,
    ) -> Vec<(FrameNumber, Slot<'a>)> {
        let mut records = camera.records.iter().peekable();
        let mut before = None;
        let slot = |number: &FrameNumber| {
            while let Some(record) = records.next_if(|record| record.info.number <= *number) {
                before = Some(record);
            }
            let slot = match (before, fill) {
                (Some(record), _) if record.info.number == *number => Slot::Frame(record),
                (_, Fill::None) => Slot::Missing,
                (Some(record), Fill::Hold) => Slot::Repeated(record),
                // There is no previous frame.
                (None, Fill::Hold) | (_, Fill::Black) => Slot::Black,
            };
            (*number, slot)
        };
        numbers.iter().map(slot).collect()
    }

    /// The numbers that all cameras can show. Without a fill those are the ones that every camera has.
    ///
    /// # Errors
    /// There are none.
    pub fn numbers_for_all(&self, fill: Fill) -> anyhow::Result<Vec<FrameNumber>> {
        let numbers = match fill {
            Fill::None => self.common(),
            Fill::Hold | Fill::Black => self.numbers.clone(),
        };
        ensure!(
            !numbers.is_empty(),
            "no frame of {} is on all devices: fill in with --fill hold",
            self.order
        );
        Ok(numbers)
    }

    /// The numbers that every camera has.
    pub fn common(&self) -> Vec<FrameNumber> {
        let has = |camera: &DeviceTake, number: FrameNumber| {
            camera.records.binary_search_by_key(&number, |record| record.info.number).is_ok()
        };
        let numbers = self.numbers.iter().copied();
        numbers.filter(|number| self.cameras.iter().all(|camera| has(camera, *number))).collect()
    }
}

/// A card that was pulled, or lost power, may have frames in its manifest that have no file yet.
fn leave_out_absent_files(camera: &mut DeviceTake) {
    let absent = camera.leave_out_absent_files();
    if absent > 0 {
        eprintln!(
            "swsync: warning: {absent} frames of {} are in its manifest and have no file in {}: they count as missing. If this is a card that was pulled or \
             lost power, put it back into its device and start that, which completes what can be completed, then collect",
            camera.take.device,
            camera.folder.display()
        );
    }
}

/// The warning about `unseen` frames, of `asked` that an order names, if there are any.
fn left_out(order: &OrderId, unseen: &NumberSet, asked: u64) -> Option<String> {
    /// At most so many runs are named.
    const NAMED: usize = 3;
    let runs: Vec<_> = unseen.iter().collect();
    let named = runs.iter().take(NAMED).map(|(first, count)| match count {
        1 => first.to_string(),
        _ => format!("{first} to {}", first + (count - 1)),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = if runs.len() > NAMED { ", and others" } else { "" };
    (!runs.is_empty()).then(|| {
        let count = unseen.count();
        format!("no device has {count} of the {asked} frames that {order} names: {named}{more}; they are left out, and not filled in")
    })
}

impl Slot<'_> {
    /// The frame that is shown, if there is one.
    pub fn record(&self) -> Option<&FrameRecord> {
        match self {
            Self::Frame(record) | Self::Repeated(record) => Some(record),
            Self::Black | Self::Missing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{device_take, name};

    fn shown(slots: &[(FrameNumber, Slot<'_>)]) -> Vec<String> {
        let word = |slot: &Slot<'_>| match slot {
            Slot::Frame(record) => record.info.number.to_string(),
            Slot::Repeated(record) => format!("held {}", record.info.number),
            Slot::Black => "black".into(),
            Slot::Missing => "hole".into(),
        };
        slots.iter().map(|(_, slot)| word(slot)).collect()
    }

    #[test]
    fn missing_frames_are_filled_as_asked() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[100, 101, 102, 103, 104]);
        device_take(root.path(), "o1", "b", &[101, 104]);
        let takes = RigTake::read(&root.path().join("o1"), &[]).unwrap();
        assert_eq!(takes.numbers, [100, 101, 102, 103, 104]);
        assert_eq!(takes.common(), [101, 104]);
        let slots = |fill| shown(&RigTake::slots(&takes.cameras[1], &takes.numbers, fill));
        assert_eq!(slots(Fill::None), ["hole", "101", "hole", "hole", "104"]);
        assert_eq!(slots(Fill::Hold), ["black", "101", "held 101", "held 101", "104"]);
        assert_eq!(slots(Fill::Black), ["black", "101", "black", "black", "104"]);
    }

    #[test]
    fn a_picture_that_a_power_cut_left_without_its_name_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let folder = device_take(root.path(), "o1", "a", &[100, 101, 102]);
        device_take(root.path(), "o1", "b", &[100, 101, 102]);
        std::fs::rename(folder.join("00000101.jpg"), folder.join(".00000101.jpg.part")).unwrap();
        let takes = RigTake::read(&root.path().join("o1"), &[]).unwrap();
        assert_eq!((takes.numbers.clone(), takes.common()), (vec![100, 101, 102], vec![100, 102]));
        assert_eq!(
            shown(&RigTake::slots(&takes.cameras[0], &takes.numbers, Fill::Hold)),
            ["100", "held 100", "102"]
        );
    }

    #[test]
    fn devices_must_exist_and_have_one_rate() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[100]);
        let b = device_take(root.path(), "o1", "b", &[100]);
        let take = b.join("take.json");
        let text = std::fs::read_to_string(&take).unwrap().replace("[30,1]", "[60,1]");
        std::fs::write(take, text).unwrap();
        let folder = root.path().join("o1");
        let error = RigTake::read(&folder, &[]).unwrap_err().to_string();
        assert!(error.contains("a has 30/1 frames per second and b 60/1"), "{error}");
        assert_eq!(RigTake::read(&folder, &[name("b")]).unwrap().cameras.len(), 1);
        assert!(RigTake::read(&folder, &[name("c")]).is_err());
        assert!(RigTake::read(root.path(), &[]).is_err());
    }
}
