//! Encoded video: lead-in frames and key frame requests.

use super::*;
use crate::coded::Coding;

/// A frame of a video with a key frame every 10.
fn coded(number: FrameNumber) -> RingFrame<FrameNumber> {
    let coding = if number.is_multiple_of(10) { Coding::Key } else { Coding::Delta };
    RingFrame { coding, ..frame(number) }
}

/// The frames that are handed out: segment, number, whether it is named.
fn saves(actions: &[OrderAction<FrameNumber>]) -> Vec<(u64, FrameNumber, bool)> {
    let save = |action: &OrderAction<FrameNumber>| match action {
        OrderAction::Save { segment, number, purpose, .. } => {
            Some((*segment, *number, *purpose == FramePurpose::Named))
        }
        _ => None,
    };
    actions.iter().filter_map(save).collect()
}

fn wide_queue() -> OrderQueue<FrameNumber> {
    let mut queue = OrderQueue::new(name("pi"), RingLimits { bytes: 100_000, time: Span::MAX });
    queue.set_grid(grid());
    queue
}

#[test]
fn a_past_start_of_video_has_a_lead_in() {
    let mut queue = wide_queue();
    for number in 100..125 {
        queue.handle_frame(coded(number));
    }
    let actions = queue.handle_order(take("t", 113, None)).unwrap();
    let lead_in = (110..113).map(|number| (0, number, false));
    let named = (113..125).map(|number| (0, number, true));
    assert_eq!(saves(&actions), lead_in.chain(named).collect::<Vec<_>>());
}

#[test]
fn key_frames_are_requested_for_the_start_and_for_each_segment() {
    let mut queue = wide_queue();
    for number in 100..110 {
        queue.handle_frame(coded(number));
    }
    queue.handle_order(take("t", 200, Some(Span::from_secs(2)))).unwrap();
    let mut asked = Vec::new();
    for number in 110..300 {
        for action in queue.handle_frame(coded(number)) {
            if let OrderAction::RequestKey { number: key, at } = action {
                assert_eq!(at, grid().instant(key));
                assert_eq!(key, number + 30, "a second ahead");
                asked.push(key);
            }
        }
    }
    assert_eq!(asked, [200, 260, 320]);
}

#[test]
fn a_segment_that_does_not_begin_with_a_key_frame_has_a_lead_in() {
    let mut queue = wide_queue();
    queue.handle_order(take("t", 105, Some(Span::from_secs(1)))).unwrap();
    let mut all = Vec::new();
    for number in 100..140 {
        all.extend(saves(&queue.handle_frame(coded(number))));
    }
    let in_point = |segment| all.iter().filter(|save| save.0 == segment).take_while(|save| !save.2).count();
    assert_eq!((in_point(0), in_point(1)), (5, 5)); // 100..105, and 130..135 once more
    let named: Vec<_> = all.iter().filter(|save| save.2).map(|save| save.1).collect();
    assert_eq!(named, (105..140).collect::<Vec<_>>());
}

/// Numbers of the key frames that `actions` request.
fn requested(actions: &[OrderAction<FrameNumber>]) -> Vec<FrameNumber> {
    let requested = |action: &OrderAction<FrameNumber>| match action {
        OrderAction::RequestKey { number, .. } => Some(*number),
        _ => None,
    };
    actions.iter().filter_map(requested).collect()
}

#[test]
fn a_key_frame_is_requested_at_once_and_every_second_while_frames_cannot_be_decoded() {
    let mut queue = wide_queue();
    let mut arrive = |number, coding| requested(&queue.handle_frame(RingFrame { coding, ..frame(number) }));
    assert!(arrive(100, Coding::Key).is_empty());
    assert_eq!(arrive(102, Coding::Undecodable), [102], "at once, with no order open");
    for number in 103..132 {
        assert!(arrive(number, Coding::Undecodable).is_empty());
    }
    assert_eq!(arrive(132, Coding::Undecodable), [132], "again after a second");
    assert!(arrive(133, Coding::Key).is_empty());
    assert!(arrive(134, Coding::Delta).is_empty());
    assert_eq!(arrive(136, Coding::Undecodable), [136], "another loss does not wait");
}

/// Ten frames of a closed group, then a key frame 110 whose leading frames 108 and 109 come after it, then 111.
fn open_group() -> Vec<RingFrame<FrameNumber>> {
    let group = (100..108).map(coded);
    let open = [(110, Coding::OpenKey), (108, Coding::Leading), (109, Coding::Leading), (111, Coding::Delta)];
    group.chain(open.map(|(number, coding)| RingFrame { coding, ..frame(number) })).collect()
}

#[test]
fn leading_frames_of_the_first_key_frame_take_the_group_before_it() {
    let mut queue = wide_queue();
    queue.handle_order(take("t", 108, None)).unwrap();
    let all: Vec<_> = open_group().into_iter().flat_map(|frame| saves(&queue.handle_frame(frame))).collect();
    let lead_in = (100..108).map(|number| (0, number, false));
    let named = [110, 108, 109, 111].map(|number| (0, number, true));
    assert_eq!(all, lead_in.chain(named).collect::<Vec<_>>());
}

#[test]
fn leading_frames_go_on_in_a_file_that_has_the_group_before_them() {
    let mut queue = wide_queue();
    queue.handle_order(take("t", 100, None)).unwrap();
    let all: Vec<_> = open_group().into_iter().flat_map(|frame| saves(&queue.handle_frame(frame))).collect();
    let numbers = (100..108).chain([110, 108, 109, 111]);
    assert_eq!(all, numbers.map(|number| (0, number, true)).collect::<Vec<_>>(), "each once");
}

#[test]
fn a_closed_key_frame_takes_nothing_before_it_though_frames_are_missing_there() {
    let mut queue = wide_queue();
    queue.handle_order(take("t", 108, None)).unwrap();
    let frames = (100..108).chain([110]).map(coded);
    let all: Vec<_> = frames.flat_map(|frame| saves(&queue.handle_frame(frame))).collect();
    assert_eq!(all, [(0, 110, true)]);
}

#[test]
fn a_key_frame_is_requested_once_for_each_file_whose_frames_have_none() {
    let mut queue = wide_queue();
    queue.handle_order(take("t", 101, Some(Span::from_secs(1)))).unwrap();
    let frames = (101..150).map(|number| RingFrame { coding: Coding::Delta, ..frame(number) });
    let mut at_once = Vec::new();
    for frame in frames {
        let next = frame.number + 1;
        at_once.extend(requested(&queue.handle_frame(frame)).into_iter().filter(|number| *number <= next));
    }
    // Segments of 30 frames begin on the grid's own seconds.
    assert_eq!(at_once, [102, 132]);
}

#[test]
fn a_frame_that_was_lost_just_before_the_order_is_cancelled_keeps_its_own_reason() {
    let mut queue = wide_queue();
    queue.handle_order(order("o", 110, 6)).unwrap();
    for number in [110, 111, 113] {
        queue.handle_frame(coded(number));
    }
    let (_, actions) = queue.handle_command(&OrderCommand::Cancel { order: name("o") });
    assert!(actions.iter().any(|action| matches!(action, OrderAction::Close { .. })), "{actions:?}");
    queue.handle_written(&name("o"), 110..=113, saved(110));
    let actions = queue.handle_closed(&name("o"));
    let answer = actions.iter().find_map(|action| match action {
        OrderAction::Answer(answer) => Some(answer),
        _ => None,
    });
    let missing: Vec<_> = answer.unwrap().frames.iter().filter(|run| run.saved() == 0).collect();
    let told: Vec<_> = missing.iter().map(|run| (run.first, run.last, run.why().unwrap())).collect();
    assert_eq!(told, [(112, 112, crate::gap::UNKNOWN), (114, 115, "cancelled")]);
}
