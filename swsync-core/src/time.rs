//! Types for time: instants tagged with the clock that read them, signed spans, offsets and rates.
//!
//! An instant of one clock cannot be mistaken for an instant of another:
//!
//! ```compile_fail
//! use swsync_core::time::{Local, Rig, Timestamp};
//! let rig = Timestamp::<Rig>::from_nanos(2);
//! let local = Timestamp::<Local>::from_nanos(1);
//! let _ = rig - local; // two clocks: only an `Offset` converts between them
//! ```
//!
//! A rate cannot be mistaken for an offset:
//!
//! ```compile_fail
//! use swsync_core::time::{Offset, Skew};
//! let _: Offset = Skew::from_ppm(1.0);
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::Sum;
use std::marker::PhantomData;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A clock that timestamps can belong to.
pub trait Clock {
    /// Its name in `Debug` output.
    const NAME: &'static str;
}

macro_rules! clock {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {}
        impl Clock for $name {
            const NAME: &'static str = stringify!($name);
        }
    };
}

clock! {
    /// One device's `CLOCK_MONOTONIC`.
    Local
}
clock! {
    /// Rig time: ns since the Unix epoch, as the first leader had it when the time scale began.
    Rig
}
clock! {
    /// The clock of an LED panel in a picture: zero when its first columns go on, modulo the panel's period.
    PanelClock
}
clock! {
    /// One device's `CLOCK_BOOTTIME`: what libcamera's `SensorTimestamp` counts.
    Boottime
}
clock! {
    /// One device's `CLOCK_REALTIME`: what the kernel's software packet timestamps count.
    Realtime
}
clock! {
    /// The host's own `CLOCK_MONOTONIC`, never simulated.
    ///
    /// The clocks of simulated devices derive from it, so simulations call it true time. Without simulation, [`Local`] is
    /// the same clock.
    Host
}

/// An instant on clock `D`, in nanoseconds since that clock's origin.
pub struct Timestamp<D>(i64, PhantomData<D>);

impl<D> Timestamp<D> {
    /// The clock's origin.
    pub const ZERO: Self = Self::from_nanos(0);
    /// The latest instant that fits into 64 bit.
    pub const MAX: Self = Self::from_nanos(i64::MAX);

    /// The instant `nanos` ns after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos, PhantomData)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// This instant shifted by `span`, saturating at the limits of 64 bit.
    #[must_use]
    pub const fn saturating_add(self, span: Span) -> Self {
        Self::from_nanos(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this instant; negative if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl<D> Clone for Timestamp<D> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<D> Copy for Timestamp<D> {}
impl<D> PartialEq for Timestamp<D> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<D> Eq for Timestamp<D> {}
impl<D> PartialOrd for Timestamp<D> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<D> Ord for Timestamp<D> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<D> Hash for Timestamp<D> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<D: Clock> fmt::Debug for Timestamp<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} ns)", D::NAME, self.0)
    }
}
impl<D> Serialize for Timestamp<D> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}
impl<'de, D> Deserialize<'de> for Timestamp<D> {
    fn deserialize<De: serde::Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        i64::deserialize(deserializer).map(Self::from_nanos)
    }
}
#[cfg(feature = "schema")]
impl<D: Clock> schemars::JsonSchema for Timestamp<D> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}Time", D::NAME).into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An instant, in nanoseconds since the origin of its clock.",
            "type": "integer",
            "format": "int64",
        })
    }
}

impl<D> Sub for Timestamp<D> {
    type Output = Span;
    fn sub(self, earlier: Self) -> Span {
        self.since(earlier)
    }
}
impl<D> Add<Span> for Timestamp<D> {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        self.saturating_add(span)
    }
}
impl<D> AddAssign<Span> for Timestamp<D> {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}
impl<D> Sub<Span> for Timestamp<D> {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self::from_nanos(self.0.saturating_sub(span.0))
    }
}

/// A signed span in nanoseconds. Sums saturate, so that an overflow cannot look like a plausible value.
///
/// Two clocks measure a long span differently: apply a [`Skew`] before changing clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    /// The empty span.
    pub const ZERO: Self = Self(0);
    /// The longest span that fits into 64 bit.
    pub const MAX: Self = Self(i64::MAX);

    /// A span of `nanos` ns.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A span of `micros` us.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// A span of `millis` ms.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A span of `secs` s.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// The span nearest to `secs` seconds; saturates, and is zero for NaN.
    #[must_use]
    pub fn from_secs_f64(secs: f64) -> Self {
        Self::from_nanos_f64(secs * 1e9)
    }

    /// The span nearest to `nanos` nanoseconds; saturates, and is zero for NaN.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "float to int casts saturate, which is what a span does"
    )]
    pub fn from_nanos_f64(nanos: f64) -> Self {
        Self(nanos.round() as i64)
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Nanoseconds as a float: exact below 2^53 ns (104 days).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "spans that enter float arithmetic are short")]
    pub const fn as_nanos_f64(self) -> f64 {
        self.0 as f64
    }

    /// Microseconds, with the fraction.
    #[must_use]
    pub fn as_micros_f64(self) -> f64 {
        self.as_nanos_f64() / 1e3
    }

    /// Seconds, with the fraction.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.as_nanos_f64() / 1e9
    }

    /// Its magnitude.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Whether it is less than zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// As a `Duration` to wait for; zero if negative.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// This span scaled by `factor`.
    #[must_use]
    pub fn mul_f64(self, factor: f64) -> Self {
        Self::from_nanos_f64(self.as_nanos_f64() * factor)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.0)
    }
}
impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
impl SubAssign for Span {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl Neg for Span {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}
impl Mul<i64> for Span {
    type Output = Self;
    fn mul(self, factor: i64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}
impl Div<i64> for Span {
    type Output = Self;
    fn div(self, divisor: i64) -> Self {
        Self(self.0 / divisor)
    }
}
impl Sum for Span {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Rig time minus local time at one instant; the only conversion between the two clocks.
///
/// RFC 5905 section 8 calls it θ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Offset(Span);

impl Offset {
    /// The offset at the instant when the local clock reads `local` and rig time is `rig`.
    #[must_use]
    pub const fn between(rig: Timestamp<Rig>, local: Timestamp<Local>) -> Self {
        Self(Span(rig.0.saturating_sub(local.0)))
    }

    /// The offset `span`.
    #[must_use]
    pub const fn from_span(span: Span) -> Self {
        Self(span)
    }

    /// As a span: positive if rig time is ahead of local time.
    #[must_use]
    pub const fn as_span(self) -> Span {
        self.0
    }

    /// Rig time when the local clock reads `local`.
    #[must_use]
    pub const fn to_rig(self, local: Timestamp<Local>) -> Timestamp<Rig> {
        Timestamp::from_nanos(local.0.saturating_add(self.0.0))
    }

    /// Local time when rig time is `rig`.
    #[must_use]
    pub const fn to_local(self, rig: Timestamp<Rig>) -> Timestamp<Local> {
        Timestamp::from_nanos(rig.0.saturating_sub(self.0.0))
    }
}
impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:?}", self.0)
    }
}

/// Rate of one clock relative to another, minus one (s/s; 1e-6 is 1 ppm).
///
/// It is the rate of rig time relative to local time unless stated otherwise.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Skew(f64);

impl Skew {
    /// Equal rates.
    pub const ZERO: Self = Self(0.0);

    /// A skew of `ratio` s/s.
    #[must_use]
    pub const fn from_ratio(ratio: f64) -> Self {
        Self(ratio)
    }

    /// A skew of `ppm` parts per million.
    #[must_use]
    pub fn from_ppm(ppm: f64) -> Self {
        Self(ppm * 1e-6)
    }

    /// Seconds per second.
    #[must_use]
    pub const fn as_ratio(self) -> f64 {
        self.0
    }

    /// Parts per million.
    #[must_use]
    pub fn as_ppm(self) -> f64 {
        self.0 * 1e6
    }

    /// The time that the fast clock gains over `span`.
    #[must_use]
    pub fn over(self, span: Span) -> Span {
        span.mul_f64(self.0)
    }

    /// This skew, limited to the magnitude of `limit`.
    #[must_use]
    pub fn clamp(self, limit: Self) -> Self {
        Self(self.0.clamp(-limit.0.abs(), limit.0.abs()))
    }
}
impl Add for Skew {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl fmt::Debug for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ppm", self.as_ppm())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_saturate() {
        assert_eq!(Span::MAX + Span::from_nanos(1), Span::MAX);
        assert_eq!(-Span::from_nanos(i64::MIN), Span::MAX);
        assert_eq!(Span::from_nanos(i64::MIN).abs(), Span::MAX);
        assert_eq!(Timestamp::<Local>::MAX + Span::from_secs(1), Timestamp::MAX);
        assert_eq!(Span::from_secs_f64(f64::INFINITY), Span::MAX);
        assert_eq!(Span::from_secs_f64(f64::NAN), Span::ZERO);
    }

    #[test]
    fn a_negative_span_becomes_a_zero_duration() {
        assert_eq!(Span::from_millis(-3).to_duration(), Duration::ZERO);
        assert_eq!(Span::from_millis(3).to_duration(), Duration::from_millis(3));
    }

    #[test]
    fn instants_move_by_spans_and_spans_add_up() {
        let ns = Span::from_nanos;
        let mut at = Timestamp::<Local>::from_nanos(10);
        at += ns(5);
        assert_eq!((at, at - ns(2)), (Timestamp::from_nanos(15), Timestamp::from_nanos(13)));
        let mut span = ns(7);
        span += ns(5);
        assert_eq!(span, ns(12));
        span -= ns(3);
        assert_eq!((span, span - ns(2), span * 4, span / 4, -span), (ns(9), ns(7), ns(36), ns(2), ns(-9)));
        assert_eq!([1, 2, 4].map(ns).into_iter().sum::<Span>(), ns(7));
        assert_eq!([-1, 0, 1].map(|nanos| ns(nanos).is_negative()), [true, false, false]);
    }

    #[test]
    fn spans_have_units() {
        let span = Span::from_nanos(2_500_000_000);
        assert_eq!(
            [Span::from_micros(2_500_000), Span::from_millis(2_500), Span::from_secs_f64(2.5)],
            [span; 3]
        );
        assert_eq!((span.as_nanos_f64(), span.as_micros_f64(), span.as_secs_f64()), (2.5e9, 2.5e6, 2.5));
        assert_eq!(
            (span.mul_f64(0.4), Span::from_secs(1)),
            (Span::from(Duration::from_secs(1)), Span::from_millis(1_000))
        );
    }

    #[test]
    fn skews_add_up_and_are_bounded_on_both_sides() {
        let ppm = Skew::from_ppm;
        assert!(
            (ppm(20.0).as_ratio() - 2e-5).abs() < 1e-15
                && (Skew::from_ratio(2e-5).as_ppm() - 20.0).abs() < 1e-9
        );
        assert!(((ppm(20.0) + ppm(30.0)).as_ppm() - 50.0).abs() < 1e-9);
        assert_eq!(ppm(-900.0).clamp(ppm(500.0)), ppm(-500.0));
    }

    #[test]
    fn instants_are_numbers_in_messages() {
        let at = Timestamp::<Rig>::from_nanos(-5);
        assert_eq!(serde_json::to_string(&at).unwrap(), "-5");
        assert_eq!(serde_json::from_str::<Timestamp<Rig>>("-5").unwrap(), at);
    }

    #[test]
    fn an_offset_converts_both_ways() {
        let local = Timestamp::<Local>::from_nanos(10);
        let rig = Timestamp::<Rig>::from_nanos(1_000);
        let offset = Offset::between(rig, local);
        assert_eq!(offset.to_rig(local), rig);
        assert_eq!(offset.to_local(rig), local);
        assert_eq!(offset.as_span(), Span::from_nanos(990));
    }

    #[test]
    fn debug_prints_clock_and_unit() {
        assert_eq!(format!("{:?}", Timestamp::<Rig>::from_nanos(5)), "Rig(5 ns)");
        assert_eq!(format!("{:?}", Span::from_micros(2)), "2000 ns");
        assert_eq!(format!("{:?}", Offset::from_span(Span::from_micros(-2))), "offset -2000 ns");
        assert_eq!(format!("{:?}", Skew::from_ppm(1.5)), "1.500 ppm");
    }

    #[test]
    fn the_gain_of_a_skew_is_proportional_to_the_span() {
        assert_eq!(Skew::from_ppm(20.0).over(Span::from_secs(1)), Span::from_micros(20));
        assert_eq!(Skew::from_ppm(900.0).clamp(Skew::from_ppm(500.0)), Skew::from_ppm(500.0));
    }
}
