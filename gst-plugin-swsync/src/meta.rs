//! The metas of a frame: reference timestamps with its time, and a custom meta with its number and the rest.
//!
//! A frame's time is that of its exposure (`align-point`), not of a grid instant: it lies off the grid by the phase error, and by
//! `phase-offset` if that is set. `swsyncsink` and `swsyncgate` take the number from the custom meta. If that was lost, they work it out from the
//! reference timestamp, and if that was lost too, from the PTS.
//!
//! The metas pass through jpegenc, pngenc, x264enc (reordered frames too), x265enc, openh264enc, vp8enc, jpegparse
//! and h264parse of GStreamer 1.26: `tests/swsyncsrc.rs` checks those that are installed.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use gst::buffer::BufferMetaForeachAction as Action;
use gst::glib::{self, GStr, gstr};
use gst::meta::{CustomMeta, MetaRefMut};
use gst::{StructureRef, prelude::*};
use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncState};
use swsync_core::gap::{FrameGap, GapCause};
use swsync_core::grid::FrameNumber;
use swsync_core::message::TimeScale;
use swsync_core::time::{Boottime, Rig, Span, Timestamp};

use crate::clock::{clock_time, rig_time};

/// Name of the custom meta, and of its structure.
pub const FRAME_META: &str = "SwsyncFrameMeta";

/// Caps of the GstReferenceTimestampMeta with a frame's rig time.
pub static RIG_TIME_CAPS: LazyLock<gst::Caps> = LazyLock::new(|| lasting_caps("timestamp/x-swsync"));

/// Caps of the GstReferenceTimestampMeta with a frame's Unix time.
pub static UNIX_TIME_CAPS: LazyLock<gst::Caps> = LazyLock::new(|| lasting_caps("timestamp/x-unix"));

/// Caps that stay until the process ends, which GStreamer's leaks tracer then does not count as lost.
fn lasting_caps(name: &str) -> gst::Caps {
    let mut caps = gst::Caps::new_empty_simple(name);
    caps.make_mut().mark_may_be_leaked();
    caps
}

/// Caps of the GstReferenceTimestampMeta with a frame's NTP time, which `rtphdrextntp64` sends.
pub static NTP_TIME_CAPS: LazyLock<gst::Caps> =
    LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-ntp"));

/// From the epoch of NTP, 1900, to that of Unix, 1970: 70 years with 17 leap days (RFC 5905, figure 4).
const NTP_EPOCH: gst::ClockTime = gst::ClockTime::from_seconds(2_208_988_800);

/// Which reference timestamps frames get beside rig time. Rig time counts from the Unix epoch on a `swsyncclock` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallTime {
    /// Rig time is the time of some other clock.
    None,
    /// Unix time.
    Unix,
    /// Unix time, and the same as NTP time.
    UnixAndNtp,
}

/// Registers the custom meta. Once per process.
pub fn register() {
    if !CustomMeta::is_registered(FRAME_META) {
        CustomMeta::register_simple(FRAME_META);
    }
}

/// A meta that [`attach`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnMeta {
    RigTime,
    UnixTime,
    NtpTime,
    Details,
}

impl OwnMeta {
    /// Which one `meta` is. A reference timestamp counts only if it has the very caps of this module, not equal ones.
    pub(crate) fn of<U>(meta: &mut MetaRefMut<'_, gst::Meta, U>) -> Option<Self> {
        if let Some(time) = meta.downcast_ref::<gst::ReferenceTimestampMeta>() {
            let is = |caps: &gst::Caps| std::ptr::eq(time.reference(), caps.as_ref());
            return is(&RIG_TIME_CAPS)
                .then_some(Self::RigTime)
                .or(is(&UNIX_TIME_CAPS).then_some(Self::UnixTime))
                .or(is(&NTP_TIME_CAPS).then_some(Self::NtpTime));
        }
        let ours = meta.try_as_custom_meta().is_some_and(|meta| meta.structure().name() == FRAME_META);
        ours.then_some(Self::Details)
    }
}

/// Attaches `info` to `buffer`. Metas of an earlier frame in the same buffer are used again.
///
/// `gap`: the last gap of the source, if it reports gaps.
pub fn attach(
    buffer: &mut gst::BufferRef,
    info: &FrameInfo,
    gap: Option<&FrameGap>,
    period: Span,
    wall: WallTime,
) {
    let time = clock_time(info.rig_time_ns);
    let ntp_time = time.saturating_add(NTP_EPOCH);
    let (unix, ntp) = (wall != WallTime::None, wall == WallTime::UnixAndNtp);
    let duration = gst::ClockTime::from_nseconds(period.as_nanos().unsigned_abs());
    let (mut has_rig, mut has_unix, mut has_ntp, mut has_details) = (false, false, false, false);
    buffer.foreach_meta_mut(|mut meta| {
        let (has, time) = match OwnMeta::of(&mut meta) {
            None => return ControlFlow::Continue(Action::Keep),
            Some(OwnMeta::UnixTime) if !unix => return ControlFlow::Continue(Action::Remove),
            Some(OwnMeta::NtpTime) if !ntp => return ControlFlow::Continue(Action::Remove),
            Some(OwnMeta::RigTime) => (&mut has_rig, time),
            Some(OwnMeta::UnixTime) => (&mut has_unix, time),
            Some(OwnMeta::NtpTime) => (&mut has_ntp, ntp_time),
            Some(OwnMeta::Details) => (&mut has_details, time),
        };
        *has = true;
        if let Some(reference) = meta.downcast_mut() {
            set_time(reference, time, duration);
        } else if let Some(details) = meta.try_as_mut_custom_meta() {
            refill(details.mut_structure(), info, gap);
        }
        ControlFlow::Continue(Action::Keep)
    });
    if !has_rig {
        gst::ReferenceTimestampMeta::add(buffer, &RIG_TIME_CAPS, time, duration);
    }
    if unix && !has_unix {
        gst::ReferenceTimestampMeta::add(buffer, &UNIX_TIME_CAPS, time, duration);
    }
    if ntp && !has_ntp {
        gst::ReferenceTimestampMeta::add(buffer, &NTP_TIME_CAPS, ntp_time, duration);
    }
    if !has_details {
        let mut meta = CustomMeta::add(buffer, FRAME_META).expect("registered when the plugin was loaded");
        fill(meta.mut_structure(), info, gap, Absent::Leave);
    }
}

fn set_time<U>(
    meta: &mut MetaRefMut<'_, gst::ReferenceTimestampMeta, U>,
    time: gst::ClockTime,
    duration: gst::ClockTime,
) {
    let meta = meta.as_mut_ptr();
    // SAFETY: the meta is borrowed mutably, and both fields are plain numbers, public in gstbuffer.h. The bindings can only
    // read them.
    unsafe {
        (*meta).timestamp = time.nseconds();
        (*meta).duration = duration.nseconds();
    }
}

/// The fields of the custom meta for the frame `info`, and its rig time: for `stats`.
pub fn structure_of(info: &FrameInfo) -> gst::Structure {
    let mut structure = gst::Structure::new_empty("swsync-frame");
    set(&mut structure, gstr!("rig-time"), Some(info.rig_time_ns), Absent::Leave);
    fill(&mut structure, info, None, Absent::Leave);
    structure
}

/// What to do with a field that a frame does not have.
#[derive(Debug, Clone, Copy)]
enum Absent {
    Leave,
    Remove,
}

/// Fills the structure of an earlier frame. Frames nearly always have the same fields.
fn refill(structure: &mut StructureRef, info: &FrameInfo, gap: Option<&FrameGap>) {
    let filled = fill(structure, info, gap, Absent::Leave);
    if structure.n_fields() > filled {
        fill(structure, info, gap, Absent::Remove);
    }
}

/// Sets the fields that `info` and `gap` have. Returns how many.
fn fill(structure: &mut StructureRef, info: &FrameInfo, gap: Option<&FrameGap>, absent: Absent) -> usize {
    structure.set_with_static(gstr!("frame-number"), info.number);
    structure.set_with_static(gstr!("phase-error"), info.phase_error_ns.as_nanos());
    set_word(structure, gstr!("sync"), info.sync.as_str());
    set_word(structure, gstr!("lock"), info.lock_text());
    4 + set(structure, TIMESCALE, info.timescale, absent)
        + set(structure, gstr!("clock-uncertainty"), info.clock_uncertainty_ns, absent)
        + set(structure, gstr!("exposure"), info.exposure_ns, absent)
        + set(structure, gstr!("analogue-gain"), info.analogue_gain, absent)
        + set(structure, gstr!("sensor-time"), info.sensor_time_ns, absent)
        + set_details(structure, &info.details, absent)
        + set_gap(structure, gap, absent)
}

/// The field with the id of the time scale that number and rig time are of.
const TIMESCALE: &GStr = gstr!("timescale");

/// Names of the fields of a [`FrameGap`].
const GAP_FIELDS: [&GStr; 4] =
    [gstr!("gap"), gstr!("gap-first-frame"), gstr!("gap-frames"), gstr!("gap-cause")];

/// As [`fill`]. Many frames carry the same gap: it is written once.
fn set_gap(structure: &mut StructureRef, gap: Option<&FrameGap>, absent: Absent) -> usize {
    let [serial, first, count, cause] = GAP_FIELDS;
    let Some(gap) = gap else {
        if let Absent::Remove = absent {
            GAP_FIELDS.into_iter().for_each(|name| structure.remove_field(name));
        }
        return 0;
    };
    if get_gap(structure).as_ref() != Some(gap) {
        structure.set_with_static(serial, gap.serial);
        structure.set_with_static(first, gap.first);
        structure.set_with_static(count, gap.count);
        set_word(structure, cause, gap.cause.as_str());
    }
    GAP_FIELDS.len()
}

fn get_gap(structure: &StructureRef) -> Option<FrameGap> {
    let [serial, first, count, cause] = GAP_FIELDS;
    Some(FrameGap {
        serial: structure.get(serial).ok()?,
        first: structure.get(first).ok()?,
        count: structure.get(count).ok()?,
        cause: GapCause::from_name(structure.get(cause).ok()?)?,
    })
}

/// The rig time that `buffer` carries.
#[must_use]
pub fn rig_time_of(buffer: &gst::BufferRef) -> Option<Timestamp<Rig>> {
    buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|meta| meta.reference() == RIG_TIME_CAPS.as_ref())
        .map(|meta| rig_time(meta.timestamp()))
}

/// What a buffer's custom meta says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Details {
    /// The number of the grid instant that it belongs to: with `phase-offset` not always the nearest.
    pub number: FrameNumber,
    /// How far its time is from where it should be.
    pub phase_error: Span,
    /// Uncertainty of the clock when the frame was taken.
    pub clock_uncertainty: Option<Span>,
    /// How well the device knew rig time.
    pub sync: SyncState,
    /// The time scale of its rig time and its number.
    pub timescale: Option<TimeScale>,
    /// Whether the camera was on the grid.
    pub lock: LockState,
    /// Exposure time.
    pub exposure: Option<Span>,
    /// Analogue gain.
    pub analogue_gain: Option<f64>,
    /// The sensor's own timestamp.
    pub sensor_time: Option<Timestamp<Boottime>>,
    /// What else is known of its exposure and picture.
    pub frame: FrameDetails,
    /// The last gap before it, if its source reports gaps.
    pub gap: Option<FrameGap>,
}

/// The details that `buffer` carries, if the elements upstream passed its meta on.
#[must_use]
pub fn details_of(buffer: &gst::BufferRef) -> Option<Details> {
    let meta = CustomMeta::from_buffer(buffer, FRAME_META).ok()?;
    let structure = meta.structure();
    Some(Details {
        number: structure.get("frame-number").ok()?,
        phase_error: get(structure, "phase-error")?,
        clock_uncertainty: get(structure, "clock-uncertainty"),
        sync: SyncState::from_name(structure.get("sync").ok()?)?,
        timescale: get(structure, "timescale"),
        lock: LockState::from_name(structure.get("lock").ok()?)?,
        exposure: get(structure, "exposure"),
        analogue_gain: get(structure, "analogue-gain"),
        sensor_time: get(structure, "sensor-time"),
        frame: get_details(structure),
        gap: get_gap(structure),
    })
}

/// A value in the meta: times in ns as `gint64`, arrays as GstValueArray.
trait Field: Sized {
    fn to_value(self) -> glib::SendValue;
    fn of_value(value: &glib::Value) -> Option<Self>;
}

/// Sets one field. Returns how many that are.
fn set<F: Field>(
    structure: &mut StructureRef,
    name: &'static GStr,
    field: Option<F>,
    absent: Absent,
) -> usize {
    match (field, absent) {
        (Some(field), _) => {
            structure.set_value_with_static(name, field.to_value());
            return 1;
        }
        (None, Absent::Remove) => structure.remove_field(name),
        (None, Absent::Leave) => {}
    }
    0
}

/// Sets a word, which seldom changes from frame to frame.
fn set_word(structure: &mut StructureRef, name: &'static GStr, word: &'static str) {
    if structure.get::<&GStr>(name).is_ok_and(|before| before == word) {
        return;
    }
    structure.set_with_static(name, word);
}

fn get<F: Field>(structure: &StructureRef, name: &'static str) -> Option<F> {
    F::of_value(structure.value(name).ok()?)
}

impl Field for TimeScale {
    fn to_value(self) -> glib::SendValue {
        self.0.to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        value.get().ok().map(Self)
    }
}

impl Field for Span {
    fn to_value(self) -> glib::SendValue {
        self.as_nanos().to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        value.get().ok().map(Self::from_nanos)
    }
}

impl<D> Field for Timestamp<D> {
    fn to_value(self) -> glib::SendValue {
        self.as_nanos().to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        value.get().ok().map(Self::from_nanos)
    }
}

impl Field for f64 {
    fn to_value(self) -> glib::SendValue {
        self.to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        value.get().ok()
    }
}

impl Field for i32 {
    fn to_value(self) -> glib::SendValue {
        self.to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        value.get().ok()
    }
}

impl Field for f32 {
    fn to_value(self) -> glib::SendValue {
        self.to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        value.get().ok()
    }
}

impl Field for [f32; 2] {
    fn to_value(self) -> glib::SendValue {
        gst::Array::new(self).to_send_value()
    }
    fn of_value(value: &glib::Value) -> Option<Self> {
        match value.get::<gst::ArrayRef>().ok()?.as_slice() {
            [first, second] => Some([first.get().ok()?, second.get().ok()?]),
            _ => None,
        }
    }
}

/// The fields of [`FrameDetails`] in the meta.
macro_rules! details {
    ($($field:ident: $name:literal,)*) => {
        fn set_details(structure: &mut StructureRef, details: &FrameDetails, absent: Absent) -> usize {
            // Does not compile if a field of the struct is not listed.
            let FrameDetails { $($field,)* } = *details;
            0 $(+ set(structure, gstr!($name), $field, absent))*
        }

        fn get_details(structure: &StructureRef) -> FrameDetails {
            FrameDetails { $($field: get(structure, $name),)* }
        }
    };
}

details! {
    exposure_start_ns: "exposure-start",
    exposure_middle_ns: "exposure-middle",
    row_time_ns: "row-time",
    frame_duration_ns: "frame-duration",
    digital_gain: "digital-gain",
    colour_gains: "colour-gains",
    colour_temperature_k: "colour-temperature",
    sensor_temperature_c: "sensor-temperature",
    lens_position_dpt: "lens-position",
    focus_fom: "focus-fom",
    lux: "lux",
    exposure_reference_error_ns: "exposure-reference-error",
    stamp_error_ns: "stamp-error",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attached_metas_read_back() {
        gst::init().unwrap();
        register();
        let info = FrameInfo {
            number: 54_000_000_001,
            rig_time_ns: Timestamp::from_nanos(1_800_000_000_033_333_333),
            phase_error_ns: Span::from_nanos(-12),
            clock_uncertainty_ns: Some(Span::from_micros(20)),
            sync: SyncState::Synced,
            timescale: Some(TimeScale(u64::MAX)),
            lock: Some(LockState::Locked),
            exposure_ns: None,
            analogue_gain: Some(2.0),
            sensor_time_ns: Some(Timestamp::from_nanos(77)),
            details: FrameDetails {
                exposure_start_ns: Some(Timestamp::from_nanos(1_800_000_000_033_333_333)),
                exposure_middle_ns: Some(Timestamp::from_nanos(1_800_000_000_043_333_333)),
                row_time_ns: Some(18_904.25),
                frame_duration_ns: Some(Span::from_micros(33_333)),
                digital_gain: None,
                colour_gains: Some([1.75, 2.25]),
                colour_temperature_k: Some(5_500),
                sensor_temperature_c: Some(-41.5),
                lens_position_dpt: Some(0.0),
                focus_fom: Some(-3),
                lux: None,
                exposure_reference_error_ns: Some(Span::from_micros(19)),
                stamp_error_ns: Some(Span::from_micros(12)),
            },
        };
        let mut buffer = gst::Buffer::new();
        attach(buffer.get_mut().unwrap(), &info, None, Span::from_millis(33), WallTime::Unix);
        assert_eq!(rig_time_of(&buffer), Some(info.rig_time_ns));
        let details = details_of(&buffer).unwrap();
        assert_eq!(details.clock_uncertainty, info.clock_uncertainty_ns);
        assert_eq!((details.number, details.phase_error), (info.number, info.phase_error_ns));
        assert_eq!((details.sync, Some(details.lock)), (info.sync, info.lock));
        assert_eq!(details.timescale, info.timescale);
        assert_eq!((details.exposure, details.analogue_gain), (None, Some(2.0)));
        assert_eq!(details.sensor_time, info.sensor_time_ns);
        assert_eq!(details.frame, info.details);
        assert_eq!(details_of(&gst::Buffer::new()), None);

        let next = FrameInfo {
            number: info.number + 1,
            rig_time_ns: info.rig_time_ns + Span::from_millis(33),
            analogue_gain: None,
            ..info
        };
        let gap = FrameGap { serial: 3, first: info.number - 4, count: 2, cause: GapCause::Clock };
        attach(buffer.get_mut().unwrap(), &next, Some(&gap), Span::from_millis(33), WallTime::UnixAndNtp);
        let details = details_of(&buffer).unwrap();
        assert_eq!(details.gap, Some(gap));
        assert_eq!(
            (details.number, details.analogue_gain),
            (next.number, None),
            "nothing of the frame before"
        );
        assert_eq!(rig_time_of(&buffer), Some(next.rig_time_ns));
        let all = [FRAME_META, "timestamp/x-ntp", "timestamp/x-swsync", "timestamp/x-unix"];
        assert_eq!(kinds(&buffer), all, "one of each");
        // 2027-01-15 08:00:00.066333333: RFC 5905 counts 4 008 988 800 s from 1900.
        assert_eq!(ntp_time_of(&buffer), 4_008_988_800_066_333_333);
        attach(buffer.get_mut().unwrap(), &info, Some(&gap), Span::from_millis(33), WallTime::UnixAndNtp);
        assert_eq!(ntp_time_of(&buffer), 4_008_988_800_033_333_333, "of this frame");
        assert_eq!(kinds(&buffer), all, "used again");

        let moved = FrameInfo { lock: Some(LockState::Aligning), ..info };
        attach(buffer.get_mut().unwrap(), &moved, None, Span::from_millis(33), WallTime::None);
        assert_eq!(details_of(&buffer).unwrap().gap, None, "its source reports no gaps");
        assert_eq!(details_of(&buffer).unwrap().lock, LockState::Aligning);
        assert_eq!(details_of(&buffer).unwrap().analogue_gain, Some(2.0));
        assert_eq!(kinds(&buffer), [FRAME_META, "timestamp/x-swsync"], "its rig time is no Unix time");
    }

    fn ntp_time_of(buffer: &gst::BufferRef) -> u64 {
        let mut metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
        metas.find(|meta| meta.reference() == NTP_TIME_CAPS.as_ref()).unwrap().timestamp().nseconds()
    }

    /// The names of the buffer's metas, sorted.
    fn kinds(buffer: &gst::BufferRef) -> Vec<String> {
        let kind =
            |meta: gst::MetaRef<'_, gst::Meta>| match meta.downcast_ref::<gst::ReferenceTimestampMeta>() {
                Some(time) => time.reference().structure(0).unwrap().name().to_string(),
                None => meta.try_as_custom_meta().unwrap().structure().name().to_string(),
            };
        let mut kinds: Vec<_> = buffer.iter_meta::<gst::Meta>().map(kind).collect();
        kinds.sort();
        kinds
    }
}
