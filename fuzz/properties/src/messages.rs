//! Messages of the control plane.

use serde::Serialize;
use serde::de::DeserializeOwned;
use swsync_core::exchanges::{ClockExchanges, MAX_EXCHANGES};
use swsync_core::message::{decode, encode, unframe as unframe_any};
use swsync_core::ntp::MAX_HOPS;
use swsync_core::order::{
    Acknowledgement, Answer, MAX_ANSWER_RUNS, MAX_OPEN, MAX_TARGETS, Order, OrderCommand, OrderRoster,
    Targets, disagreements,
};
use swsync_core::share::{FileReply, FileRequest, MAX_CHUNK, frame, unframe};
use swsync_core::status::{MAX_LINES, Readiness, RigAgreement, Status, TimedStatus};
use swsync_core::thumbnail::{MAX_THUMBNAIL, ThumbnailReply, ThumbnailRequest, WIDTHS};
use swsync_core::time::{Span, Timestamp};
use swsync_core::time_service::{Claim, MAX_ADDRESSES, TimeAdvert};

use crate::memory::within;

/// Most bytes that parsing may take for each byte of a message. serde's buffer for flattened fields takes 32 bytes for a value of
/// two characters, and grows by doubling.
pub const FACTOR: usize = 96;

/// The message in `bytes`, if it is one of this kind. It reads back as it was written.
fn read<M: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<M> {
    let message: M = within(bytes, FACTOR, decode::<M>).ok()?;
    let written = encode(&message);
    // A number may be rounded once.
    let again: M = decode(&written).unwrap_or_else(|error| {
        panic!("what was written cannot be read: {error}: {}", String::from_utf8_lossy(&written))
    });
    let written = encode(&again);
    let thrice: M = decode(&written).expect("it could be read before");
    assert_eq!(String::from_utf8(written), String::from_utf8(encode(&thrice)));
    Some(message)
}

/// What the bytes are as each kind of message.
pub fn message(bytes: &[u8]) {
    let order = read::<Order>(bytes);
    order.iter().for_each(check_order);
    read::<OrderCommand>(bytes);
    read::<Acknowledgement>(bytes);
    if let Some(roster) = read::<OrderRoster>(bytes) {
        assert!(roster.orders.len() <= MAX_OPEN);
        roster.orders.iter().for_each(check_order);
    }
    read::<Answer>(bytes).iter().for_each(check_answer);
    read::<Status>(bytes).iter().for_each(check_status);
    read::<TimeAdvert>(bytes).iter().for_each(check_advert);
    if let Some(request) = read::<ThumbnailRequest>(bytes) {
        assert!(WIDTHS.contains(&request.width));
    }
    if let Ok((reply, picture)) = unframe_any::<ThumbnailReply>(bytes, MAX_THUMBNAIL) {
        assert!(reply.jpeg.is_empty() && picture.len() <= MAX_THUMBNAIL);
    }
    if let Some(told) = read::<ClockExchanges>(bytes) {
        assert!(told.exchanges.len() <= MAX_EXCHANGES);
    }
}

fn check_order(order: &Order) {
    assert!(order.at() >= Timestamp::ZERO);
    if let Targets::Devices(devices) = order.targets() {
        assert!((1..=MAX_TARGETS).contains(&devices.len()));
    }
    let grids = [(30, 1), (30_000, 1_001), (1, 86_400), (1_000_000, 1)];
    for (numerator, denominator) in grids {
        let grid = swsync_core::grid::FrameGrid::new(numerator, denominator).expect("a camera's rate");
        let named = order.named(grid);
        if let (Some(count), Some(end)) = (named.count(), named.end()) {
            assert!(count <= end - named.first());
        }
        if let Some(first) = named.next_from(0) {
            assert!(named.contains(first) && named.index_of(first) == 0);
            assert!(named.next_cut(first).is_none_or(|cut| cut > first));
        }
        let _ = (order.settled_at(grid.period(), Span::MAX), order.ends_at(grid.period()));
    }
}

fn check_answer(answer: &Answer) {
    assert!(answer.frames.len() <= MAX_ANSWER_RUNS);
    assert!(answer.saved() <= answer.named());
    let condensed = answer.clone().condensed();
    assert_eq!(
        (condensed.named(), condensed.saved(), condensed.bytes()),
        (answer.named(), answer.saved(), answer.bytes())
    );
    let at = answer.frames.first().map_or(0, |run| run.first);
    let at = Timestamp::from_nanos(i64::try_from(at).unwrap_or(i64::MAX));
    if let Ok(order) = Order::still(answer.order.clone(), at) {
        let _ = disagreements(&order, [answer, &condensed]);
    }
}

fn check_status(status: &Status) {
    assert!(status.open.len() <= MAX_OPEN && status.problems.len() <= MAX_LINES);
    let texts = status.problems.iter().chain(&status.refused).chain([&status.software]);
    assert!(texts.into_iter().all(|text| !text.contains(char::is_control)), "a terminal shows them");
    let _ = Readiness::judge(status, None);
    let timed = TimedStatus { status, offset: Span::ZERO, slack: Span::from_millis(1) };
    let agreement = RigAgreement::of(&[timed]);
    let _ = (agreement.objections(status), agreement.disagreements(), agreement.notice());
}

fn check_advert(advert: &TimeAdvert) {
    assert!(advert.addresses.len() <= MAX_ADDRESSES);
    assert!(advert.time.as_ref().is_none_or(|time| time.hops.len() <= MAX_HOPS));
    let now = Timestamp::ZERO + Span::from_secs(5);
    let (one, two) = (Claim::of(advert, Timestamp::ZERO, now), Claim::of(advert, now, now));
    assert_eq!(one.compare(&two), two.compare(&one).reverse());
}

/// Requests for files and their replies.
pub fn share(bytes: &[u8]) {
    read::<FileRequest>(bytes);
    let Ok((reply, content)) = within(bytes, FACTOR, unframe) else { return };
    assert!(content.len() as u64 <= MAX_CHUNK);
    let framed = frame(&reply, content);
    assert_eq!(unframe(&framed).expect("what was written can be read"), (reply.clone(), content));
    read::<FileReply>(&framed[..framed.len() - content.len() - 1]);
}
