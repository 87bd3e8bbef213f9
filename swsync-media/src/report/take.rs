//! Reads a take for its report: all that can be read, and a list of what cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use swsync_cli::{certify, takes};
use swsync_client::pending::Pending;
use swsync_core::certificate::{self, CERTIFICATE_JSON, ErrorTerms, SCHEMA, TakeCertificate};
use swsync_core::frame::{LockState, SyncState};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FrameRecord, NOTE_JSON, Take};
use swsync_core::message::TimeScale;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::share::TakeNote;
use swsync_core::time::{Rig, Span, Timestamp};

/// A take, as far as it can be read.
pub struct TakeData {
    /// The order.
    pub order: OrderId,
    /// A person's note on it.
    pub note: Option<TakeNote>,
    /// The devices whose take.json can be read, by name.
    pub devices: Vec<DeviceData>,
    /// What is missing, or cannot be read or compared: for a person.
    pub problems: Vec<String>,
    /// Parts that were given up when the take was collected.
    pub given_up: Vec<String>,
    /// What is proven.
    pub certificate: Certificate,
    /// The numbers that any device has, ascending, of devices that can be compared.
    pub numbers: Vec<FrameNumber>,
}

/// One device's part.
pub struct DeviceData {
    /// The device.
    pub id: DeviceId,
    /// Its folder.
    pub folder: PathBuf,
    /// Its take.json.
    pub take: Take,
    /// The frames whose files are there, by number.
    pub frames: Vec<Frame>,
    /// The files that they are in.
    pub files: Vec<String>,
    /// The time scales of its frames, as far as they state one.
    pub timescales: BTreeSet<TimeScale>,
    /// Whether its numbers are the same instants as those of the first device.
    pub is_comparable: bool,
}

/// What the report needs of a line of the manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    pub number: FrameNumber,
    pub rig_time: Timestamp<Rig>,
    pub phase: Span,
    pub uncertainty: Option<Span>,
    pub terms: Option<ErrorTerms>,
    pub temperature: Option<f32>,
    pub exposure: Option<Span>,
    pub gain: Option<f64>,
    pub sync: SyncState,
    pub lock: Option<LockState>,
    /// Index of its file in [`DeviceData::files`].
    pub file: usize,
    /// Index in that file.
    pub offset: u64,
    pub bytes: u64,
}

/// What certificate.json says, as far as it is about these files.
pub enum Certificate {
    /// There is none.
    Absent,
    /// It cannot be read, or is of other files than those here: for a person.
    Invalid(String),
    /// It says what the files here say.
    Valid(Box<TakeCertificate>),
}

impl TakeData {
    /// Reads the take in `folder`.
    ///
    /// # Errors
    /// It is no folder of a take.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let full = fs::canonicalize(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        crate::export::check_is_take(folder)?;
        let order = full.file_name().and_then(|name| name.to_str()).and_then(|name| OrderId::new(name).ok());
        let (Some(order), Some(out)) = (order, full.parent()) else {
            bail!(
                "{} is not the folder of a take: that is OUT/ORDER, as `swsync collect OUT` writes it",
                folder.display()
            )
        };
        let here = takes::devices(out, &order);
        let pending = Pending::of_take(&full);
        ensure!(
            !here.is_empty() || !pending.is_empty(),
            "{} has no device's part of a take (take.json), and no lab.json: collect the take with `swsync collect`",
            folder.display()
        );
        let (given_up, pending): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(_, note)| note.given_up);
        let told = |what: &'static str| {
            move |(device, note): (DeviceId, Pending)| format!("The part of {device} {what}: {}.", note.why)
        };
        let given_up: Vec<_> = given_up.into_iter().map(told("was given up")).collect();
        let mut problems: Vec<_> = pending.into_iter().map(told("is not all here")).collect();
        let note = takes::latest_note(&full, &here, |id, why| {
            problems.push(format!("The note of {id} cannot be read: {id}/{NOTE_JSON}: {why}."));
        });
        let mut devices: Vec<DeviceData> = Vec::new();
        for id in here {
            match DeviceData::read(&full.join(id.as_str()), id.clone(), &mut problems) {
                Ok(device) => devices.push(device),
                Err(error) => {
                    problems.push(format!("The part of {id} cannot be read: {}.", without(&error, &full)))
                }
            }
        }
        compare(&mut devices, &mut problems);
        let comparable = devices.iter().filter(|device| device.is_comparable);
        let numbers: BTreeSet<_> =
            comparable.flat_map(|device| &device.frames).map(|frame| frame.number).collect();
        let certificate = Certificate::read(&full);
        let numbers = numbers.into_iter().collect();
        Ok(Self { order, note, devices, problems, given_up, certificate, numbers })
    }

    /// The grid of the devices that can be compared.
    pub fn grid(&self) -> Option<FrameGrid> {
        self.devices.first().map(|device| device.take.grid)
    }

    /// The devices whose numbers are the same instants.
    pub fn comparable(&self) -> impl Iterator<Item = &DeviceData> + Clone {
        self.devices.iter().filter(|device| device.is_comparable)
    }

    /// Seconds from the take's first number to `number`.
    pub fn seconds(&self, number: FrameNumber) -> f64 {
        let Some((grid, first)) = self.grid().zip(self.numbers.first()) else { return 0.0 };
        (grid.instant(number) - grid.instant(*first)).as_micros_f64() / 1e6
    }

    /// How far the frame times of `number` are apart by the devices' own account. `None`: fewer than two devices have it.
    pub fn spread(&self, number: FrameNumber) -> Option<Span> {
        let times: Vec<_> =
            self.comparable().filter_map(|device| device.frame(number)).map(|frame| frame.rig_time).collect();
        let (first, last) = (times.iter().min()?, times.iter().max()?);
        (times.len() > 1).then(|| *last - *first)
    }

    /// How far the pictures of `number` may be apart: the two largest bounds. `None`: fewer than two devices have it, or a frame has
    /// no bound.
    pub fn pair_bound(&self, number: FrameNumber) -> Option<Span> {
        let frames = self.comparable().filter_map(|device| device.frame(number));
        let mut bounds: Vec<_> = frames.map(|frame| frame.bound()).collect::<Option<_>>()?;
        bounds.sort_unstable();
        let [.., second, first] = bounds[..] else { return None };
        Some(first + second)
    }
}

impl DeviceData {
    fn read(folder: &Path, id: DeviceId, problems: &mut Vec<String>) -> Result<Self, takes::ReadError> {
        let take = takes::read_take(folder)?;
        let (mut frames, mut files, mut known) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut timescales = BTreeSet::new();
        let read = takes::each_frame(folder, &take, |record| {
            let file = *known.entry(record.file.clone()).or_insert_with(|| {
                files.push(record.file.clone());
                files.len() - 1
            });
            timescales.extend(record.info.timescale);
            frames.push(Frame::of(&record, file));
        });
        if let Err(error) = read {
            let top = folder.parent().unwrap_or(folder);
            problems.push(format!(
                "The part of {id} is read up to {} frames: {}.",
                frames.len(),
                without(&error, top)
            ));
        }
        if take.device != id {
            problems.push(format!("The folder {id} has the take.json of another device: {}.", take.device));
        }
        if !take.complete {
            problems.push(format!("The part of {id} is not finished: its take.json says so."));
        }
        if frames.is_empty() {
            problems.push(format!("{id} has no frames here."));
        }
        frames.sort_by_key(|frame| frame.number);
        Ok(Self { id, folder: folder.to_owned(), take, frames, files, timescales, is_comparable: true })
    }

    /// The frame of `number`.
    pub fn frame(&self, number: FrameNumber) -> Option<&Frame> {
        let at = self.frames.binary_search_by_key(&number, |frame| frame.number).ok()?;
        self.frames.get(at)
    }

    /// Whether its frames are in video files.
    pub fn is_video(&self) -> bool {
        !self.take.segments.is_empty()
    }
}

impl Frame {
    fn of(record: &FrameRecord, file: usize) -> Self {
        let info = &record.info;
        Self {
            number: info.number,
            rig_time: info.rig_time_ns,
            phase: info.phase_error_ns,
            uncertainty: info.clock_uncertainty_ns.filter(|span| *span >= Span::ZERO),
            terms: certificate::terms(info).ok(),
            temperature: info.details.sensor_temperature_c,
            exposure: info.exposure_ns,
            gain: info.analogue_gain,
            sync: info.sync,
            lock: info.lock,
            file,
            offset: record.offset,
            bytes: record.bytes,
        }
    }

    /// How far it may be from the instant of its number.
    pub fn bound(&self) -> Option<Span> {
        self.terms.map(|terms| terms.bound())
    }
}

impl Certificate {
    fn read(folder: &Path) -> Self {
        let text = match fs::read(folder.join(CERTIFICATE_JSON)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Absent,
            Err(error) => return Self::Invalid(format!("it cannot be read: {error}")),
        };
        let said: TakeCertificate = match serde_json::from_slice(&text) {
            Ok(said) => said,
            Err(error) => return Self::Invalid(format!("it is no certificate: {error}")),
        };
        if said.schema != SCHEMA {
            return Self::Invalid(format!(
                "it is of version {}, which this swsync does not know",
                said.schema
            ));
        }
        // A certificate that was written before more was collected, or by hand, proves nothing about what is here.
        match certify::certify(folder, said.max_error_ns) {
            Ok(now) if now == said => Self::Valid(Box::new(said)),
            Ok(_) => Self::Invalid("it is not about the files that are here now".into()),
            Err(error) => Self::Invalid(format!(
                "it cannot be compared with the files here: {}",
                without(&error, folder)
            )),
        }
    }
}

/// Finds out which devices number the same instants as the first one does.
fn compare(devices: &mut [DeviceData], problems: &mut Vec<String>) {
    let Some((first, others)) = devices.split_first_mut() else { return };
    for device in others {
        let ((n, d), (m, e)) = (first.take.grid.rate(), device.take.grid.rate());
        if device.take.grid != first.take.grid {
            device.is_comparable = false;
            problems.push(format!(
                "{} has {m}/{e} frames per second, and {} has {n}/{d}: their numbers are not the same instants, so they are not \
                 compared.",
                device.id, first.id
            ));
        }
        let (ours, theirs) = (&first.timescales, &device.timescales);
        if !ours.is_empty() && !theirs.is_empty() && ours.is_disjoint(theirs) {
            device.is_comparable = false;
            problems.push(format!(
                "The frames of {} are of another time scale than those of {}: their numbers are not the same instants, so they are \
                 not compared.",
                device.id, first.id
            ));
        }
    }
}

/// The text of `error`, with paths relative to `folder`: a page that is passed on needs no names of this host's folders.
fn without(error: &dyn std::fmt::Display, folder: &Path) -> String {
    format!("{error:#}").replace(&format!("{}/", folder.display()), "")
}
