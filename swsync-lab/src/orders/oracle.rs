//! The test oracle: which frames an order names, computed from the definition, frame by frame and in integers. It must not use the
//! code of the devices, for an error in that would then go unnoticed.

use std::iter;

use swsync_core::grid::FrameNumber;
use swsync_core::order::{Order, OrderKind};
use swsync_core::time::{Rig, Span, Timestamp};

/// Frames per second of the lab's devices.
pub const RATE: u32 = 30;
/// The frame period.
pub const PERIOD: Span = Span::from_nanos(33_333_333);
const SECOND: i128 = 1_000_000_000;

/// The instant of frame `number`, rounded down to nanoseconds.
pub fn instant(number: FrameNumber) -> Timestamp<Rig> {
    let nanos = i128::from(number) * SECOND / i128::from(RATE);
    Timestamp::from_nanos(i64::try_from(nanos).expect("numbers of this century"))
}

/// The frame whose instant is nearest to `at`; of two equally near ones the earlier.
pub fn nearest(at: Timestamp<Rig>) -> FrameNumber {
    let frames = i128::from(at.as_nanos()) * i128::from(RATE);
    let (whole, rest) = (frames / SECOND, frames % SECOND);
    let number = if 2 * rest > SECOND { whole + 1 } else { whole };
    FrameNumber::try_from(number).expect("rig time is after 1970")
}

/// The frames that `order` names if it is not stopped.
pub fn unstopped(order: &Order) -> Box<dyn Iterator<Item = FrameNumber>> {
    let at = order.at();
    match order.kind() {
        OrderKind::Still { every, count } => {
            let mut last = None;
            let every = every.unwrap_or(Span::ZERO);
            let stills =
                (0..i64::from(count.unwrap_or(u32::MAX))).map(move |index| nearest(at + every * index));
            Box::new(stills.filter(move |number| last.replace(*number) != Some(*number)))
        }
        OrderKind::Burst { count } => {
            let first = nearest(at);
            Box::new(first..first + u64::from(count))
        }
        OrderKind::Take { .. } => Box::new(nearest(at)..),
    }
}

/// The frames that `order` names; `None`: it goes on until it is stopped.
pub fn named(order: &Order) -> Option<Vec<FrameNumber>> {
    let end = order.stop().map(nearest);
    if end.is_none() && matches!(order.kind(), OrderKind::Take { .. } | OrderKind::Still { count: None, .. })
    {
        return None;
    }
    Some(unstopped(order).take_while(|number| end.is_none_or(|end| *number < end)).collect())
}

/// The first frames of a take's files, beginning with the first.
pub fn cuts(order: &Order) -> Box<dyn Iterator<Item = FrameNumber>> {
    let at = order.at();
    match order.kind() {
        OrderKind::Take { segment: Some(segment), .. } => {
            Box::new((0..).map(move |index| nearest(at + segment * index)))
        }
        OrderKind::Take { segment: None, .. } | OrderKind::Burst { .. } => Box::new(iter::once(nearest(at))),
        OrderKind::Still { .. } => unstopped(order),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::name;
    use swsync_core::order::Fill;

    fn at(nanos: i64) -> Timestamp<Rig> {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn the_nearest_frame_as_computed_by_hand() {
        // Frame 1 is at 33.3 ms; half way to frame 2 is exactly 50 ms.
        let by_hand =
            [(0, 0), (16_666_666, 0), (16_666_667, 1), (50_000_000, 1), (50_000_001, 2), (66_666_667, 2)];
        assert_eq!(by_hand.map(|(nanos, _)| nearest(at(nanos))), by_hand.map(|(_, number)| number));
    }

    #[test]
    fn named_frames_as_computed_by_hand() {
        let order =
            |stop: Option<i64>, kind| Order::new(name("o"), at(1_000_000_000), stop.map(at), kind).unwrap();
        let every = Some(Span::from_millis(100));
        let stills = order(None, OrderKind::Still { every, count: Some(3) });
        assert_eq!(named(&stills).unwrap(), [30, 33, 36]);
        let stopped = order(Some(1_190_000_000), OrderKind::Still { every, count: Some(3) });
        assert_eq!(named(&stopped).unwrap(), [30, 33]);
        assert_eq!(named(&order(None, OrderKind::Burst { count: 3 })).unwrap(), [30, 31, 32]);
        let segment = Some(Span::from_secs(1));
        let take = order(Some(3_500_000_000), OrderKind::Take { segment, fill: Fill::None });
        let frames = named(&take).unwrap();
        assert_eq!((frames.first(), frames.last(), frames.len()), (Some(&30), Some(&104), 75));
        assert_eq!(cuts(&take).take(3).collect::<Vec<_>>(), [30, 60, 90]);
        assert_eq!(named(&order(None, OrderKind::Take { segment, fill: Fill::None })), None);
    }
}
