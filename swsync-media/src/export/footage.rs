//! What a take shows: for each camera and frame number a frame, or what stands in for it.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FrameRecord, Runs, check_path};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::Fill;

use swsync_cli::takes::{self, DeviceTake};

/// Frames that are looked at, at most: a day at 100 frames per second.
const MAX_FRAMES: u64 = 10_000_000;

/// A take with all its cameras.
#[derive(Debug)]
pub struct Footage {
    /// The order.
    pub order: OrderId,
    /// The grid that all cameras are on.
    pub grid: FrameGrid,
    /// The frame numbers that were asked for, in order.
    pub asked: Vec<FrameNumber>,
    /// Those of them that some camera has. Only these are filled in: of the others nobody saw anything.
    pub numbers: Vec<FrameNumber>,
    /// The cameras, by name.
    pub cameras: Vec<DeviceTake>,
}

/// What there is of one frame number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// The frame.
    Frame(&'a FrameRecord),
    /// The one before, in its place.
    Held(&'a FrameRecord),
    /// A black one, in its place.
    Black,
    /// Nothing.
    Hole,
}

impl Footage {
    /// Reads the take in `folder`; of `devices` only, if any are named.
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
        let cameras = wanted
            .map(|device| DeviceTake::read(&folder.join(device.as_str())))
            .collect::<Result<Vec<_>, _>>()?;
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
        // A loop begins where the first camera still has something.
        let begin =
            cameras.iter().map(|camera| camera.take.removed.as_ref().map_or(0, |removed| removed.before));
        let begin = begin.min().unwrap_or_default();
        let most = usize::try_from(MAX_FRAMES).unwrap_or(usize::MAX);
        let asked: Runs =
            cameras.iter().flat_map(|camera| camera.frames().asked_numbers().take(most + 1)).collect();
        let asked = asked.without(&Runs::from_iter([(0, begin)]));
        ensure!(asked.count() <= MAX_FRAMES, "it names {} frames: more than can be meant", asked.count());
        let there: Runs =
            cameras.iter().flat_map(|camera| &camera.records).map(|record| record.info.number).collect();
        let unseen = asked.without(&there);
        if let Some(text) = left_out(&order, &unseen, asked.count()) {
            eprintln!("swsync: warning: {text}");
        }
        let all = |runs: &Runs| -> Vec<_> {
            runs.iter().flat_map(|(first, count)| first..first.saturating_add(count)).collect()
        };
        Ok(Self { order, grid, numbers: all(&asked.and(&there)), asked: all(&asked), cameras })
    }

    /// What `camera` has for each of `numbers`, which are in order.
    pub fn cells<'a>(
        camera: &'a DeviceTake,
        numbers: &[FrameNumber],
        fill: Fill,
    ) -> Vec<(FrameNumber, Cell<'a>)> {
        let mut records = camera.records.iter().peekable();
        let mut before = None;
        let cell = |number: &FrameNumber| {
            while let Some(record) = records.next_if(|record| record.info.number <= *number) {
                before = Some(record);
            }
            let cell = match (before, fill) {
                (Some(record), _) if record.info.number == *number => Cell::Frame(record),
                (_, Fill::None) => Cell::Hole,
                (Some(record), Fill::Hold) => Cell::Held(record),
                // Nothing was before it.
                (None, Fill::Hold) | (_, Fill::Black) => Cell::Black,
            };
            (*number, cell)
        };
        numbers.iter().map(cell).collect()
    }

    /// The numbers that are to be shown where all cameras show as many frames: without a fill those that every camera has.
    ///
    /// # Errors
    /// Where there are none.
    pub fn alike(&self, fill: Fill) -> anyhow::Result<Vec<FrameNumber>> {
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

/// What is said of `unseen` frames, of `asked` that an order names, where there are any.
fn left_out(order: &OrderId, unseen: &Runs, asked: u64) -> Option<String> {
    /// So many runs are named.
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

impl Cell<'_> {
    /// The frame that is shown, if one is.
    pub fn record(&self) -> Option<&FrameRecord> {
        match self {
            Self::Frame(record) | Self::Held(record) => Some(record),
            Self::Black | Self::Hole => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{device_take, name};

    fn shown(cells: &[(FrameNumber, Cell<'_>)]) -> Vec<String> {
        let word = |cell: &Cell<'_>| match cell {
            Cell::Frame(record) => record.info.number.to_string(),
            Cell::Held(record) => format!("held {}", record.info.number),
            Cell::Black => "black".into(),
            Cell::Hole => "hole".into(),
        };
        cells.iter().map(|(_, cell)| word(cell)).collect()
    }

    #[test]
    fn holes_are_filled_as_asked() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[100, 101, 102, 103, 104]);
        device_take(root.path(), "o1", "b", &[101, 104]);
        let footage = Footage::read(&root.path().join("o1"), &[]).unwrap();
        assert_eq!(footage.numbers, [100, 101, 102, 103, 104]);
        assert_eq!(footage.common(), [101, 104]);
        let cells = |fill| shown(&Footage::cells(&footage.cameras[1], &footage.numbers, fill));
        assert_eq!(cells(Fill::None), ["hole", "101", "hole", "hole", "104"]);
        assert_eq!(cells(Fill::Hold), ["black", "101", "held 101", "held 101", "104"]);
        assert_eq!(cells(Fill::Black), ["black", "101", "black", "black", "104"]);
    }

    #[test]
    fn only_devices_that_are_there_and_of_one_rate() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[100]);
        let b = device_take(root.path(), "o1", "b", &[100]);
        let take = b.join("take.json");
        let text = std::fs::read_to_string(&take).unwrap().replace("[30,1]", "[60,1]");
        std::fs::write(take, text).unwrap();
        let folder = root.path().join("o1");
        let error = Footage::read(&folder, &[]).unwrap_err().to_string();
        assert!(error.contains("a has 30/1 frames per second and b 60/1"), "{error}");
        assert_eq!(Footage::read(&folder, &[name("b")]).unwrap().cameras.len(), 1);
        assert!(Footage::read(&folder, &[name("c")]).is_err());
        assert!(Footage::read(root.path(), &[]).is_err());
    }
}
