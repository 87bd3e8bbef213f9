//! Random orders, drops, encoders, disks and power cuts in simulated time: the frames saved are exactly those named.

mod checks;
mod device;
mod encoder;
mod picture;

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::grid::{FrameGrid, FrameNumber};
use crate::name::OrderId;
use crate::order::testing::{info, name, rate};
use crate::order::{CommandOutcome, Fill, FrameOutcome, GRACE, Order, OrderCommand, OrderKind};
use crate::time::Span;
use checks::{check_account, check_decodable};
use device::Device;
use encoder::Encoder;

/// Frames of a run. Numbers on the grid are `ORIGIN` more.
const FRAMES: u64 = 240;
const ORIGIN: u64 = 54_000_000_000;

/// The conditions of one run.
#[derive(Debug, Clone)]
struct World {
    /// Frames from one key frame to the next; 0: every frame is a key frame.
    group: u64,
    /// How many frames the encoder holds back until the frame after them.
    reorder: u64,
    /// Whether the encoder obeys key frame requests.
    heeds: bool,
    /// Whether key frames that were not requested open their group: leading frames follow them.
    open: bool,
    /// Frames that are lost after the encoder, by their place in its output.
    lost: BTreeSet<u64>,
    ring_bytes: usize,
    /// Frames that the camera drops.
    dropped: BTreeSet<u64>,
    /// Frames that the writer writes per period.
    pace: usize,
    /// Files of an order that the writer keeps. `None`: all.
    max_files: Option<usize>,
    /// Frames at which the device goes off, and for how many frames. An odd number means a clean stop, an even one a power cut.
    cuts: Vec<(u64, u64)>,
    events: Vec<(u64, Event)>,
}

#[derive(Debug, Clone)]
enum Event {
    /// An order that begins `offset` frames from now, with a stop `length` frames later.
    Order { offset: i64, kind: OrderKind, length: Option<u64> },
    /// Stops the order with this index so many frames from now.
    Stop(usize, i64),
    /// Cancels the order with this index.
    Cancel(usize),
    /// Gives the order with this index again.
    Again(usize),
}

fn grid() -> FrameGrid {
    rate(30)
}

fn saved(number: FrameNumber) -> FrameOutcome {
    FrameOutcome::Saved { file: format!("{number}.jpg"), bytes: 1, info: info(number) }
}

/// Runs a world. Returns the orders that were given, and the device at the end.
fn play(world: &World) -> (Vec<Order>, Device<'_>) {
    let mut device = Device::new(world);
    let actions = device.queue.set_grid(grid());
    device.carry_out(actions);
    let mut encoder = Encoder::default();
    let mut orders: Vec<Order> = Vec::new();
    let mut off_until = 0;
    for now in 0..FRAMES {
        let number = ORIGIN + now;
        if let Some((_, length)) = world.cuts.iter().find(|(at, _)| *at == now) {
            off_until = now + 1 + length;
            if length % 2 == 1 {
                let actions = device.queue.handle_stop();
                device.carry_out(actions);
                device.write(usize::MAX);
                assert!(device.queue.is_idle());
            }
        }
        if now < off_until {
            if now + 1 == off_until {
                device.restart();
                encoder = Encoder::default();
            }
            continue;
        }
        for (_, event) in world.events.iter().filter(|(at, _)| *at == now) {
            happen(event, number, &mut orders, &mut device);
        }
        if !world.dropped.contains(&now) {
            let out = encoder.encode(number, &mut device);
            for frame in
                out.into_iter().filter_map(|frame| encoder.lose(frame, &world.lost)).collect::<Vec<_>>()
            {
                let actions = device.queue.handle_frame(frame);
                device.carry_out(actions);
            }
        }
        let actions = device.queue.handle_timeout(grid().instant(number));
        device.carry_out(actions);
        device.write(world.pace);
    }
    for order in orders.iter().filter(|order| order.named(grid()).end().is_none()) {
        device.command(&OrderCommand::Stop {
            order: order.id().clone(),
            at_ns: grid().instant(ORIGIN + FRAMES + 400),
        });
    }
    for _ in 0..10 {
        // The camera has stopped, and the writer finishes its work.
        device.write(usize::MAX);
        let late = grid().instant(ORIGIN + FRAMES + 500) + GRACE;
        let actions = device.queue.handle_timeout(late);
        device.carry_out(actions);
    }
    (orders, device)
}

fn happen(event: &Event, now: FrameNumber, orders: &mut Vec<Order>, device: &mut Device<'_>) {
    let at = |offset: i64| grid().instant(now.saturating_add_signed(offset)) + Span::from_millis(5);
    match event {
        Event::Order { offset, kind, length } => {
            let stop = length.map(|length| at(offset + i64::try_from(length).unwrap()));
            let id = name(&format!("o{}", orders.len()));
            let order = Order::new(id, at(*offset), stop, *kind).unwrap();
            orders.push(order.clone());
            let actions = device.queue.handle_order(order).unwrap();
            device.carry_out(actions);
        }
        Event::Again(index) if *index < orders.len() => {
            let actions = device.queue.handle_order(orders[*index].clone()).unwrap();
            device.carry_out(actions);
        }
        Event::Stop(index, offset) if *index < orders.len() => {
            let order = orders[*index].id().clone();
            if device.command(&OrderCommand::Stop { order, at_ns: at(*offset) }) != CommandOutcome::Answered {
                orders[*index].stop_at(at(*offset));
            }
        }
        Event::Cancel(index) if *index < orders.len() => {
            let order = &orders[*index];
            if order.named(grid()).end().is_none() {
                device.cut_short.insert(order.id().clone());
            }
            device.command(&OrderCommand::Cancel { order: order.id().clone() });
        }
        Event::Again(_) | Event::Stop(..) | Event::Cancel(_) => {}
    }
}

fn kinds() -> impl Strategy<Value = OrderKind> {
    prop_oneof![
        Just(OrderKind::Still { every: None, count: Some(1) }),
        (2_i64..20, 1_u32..8).prop_map(|(every, count)| OrderKind::Still {
            every: Some(Span::from_millis(every * 17)),
            count: Some(count)
        }),
        Just(OrderKind::Still { every: Some(Span::from_millis(200)), count: None }),
        (1_u32..50).prop_map(|count| OrderKind::Burst { count }),
        proptest::option::of(1000_i64..3000)
            .prop_map(|ms| OrderKind::Take { segment: ms.map(Span::from_millis), fill: Fill::Hold }),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (-60_i64..60, kinds(), proptest::option::of(1_u64..90))
            .prop_map(|(offset, kind, length)| Event::Order { offset, kind, length }),
        1 => (0_usize..8, -5_i64..40).prop_map(|(index, offset)| Event::Stop(index, offset)),
        1 => (0_usize..8).prop_map(Event::Cancel),
        1 => (0_usize..8).prop_map(Event::Again),
    ]
}

fn worlds() -> impl Strategy<Value = World> {
    (
        (prop_oneof![Just(0_u64), 1_u64..40], 0_u64..4, any::<bool>(), proptest::option::of(1_usize..5)),
        (any::<bool>(), proptest::collection::btree_set(0_u64..FRAMES, 0..6)),
        prop_oneof![Just(100_000_usize), 200_usize..5_000],
        proptest::collection::btree_set(0_u64..FRAMES, 0..40),
        prop_oneof![Just(1000_usize), 1_usize..4],
        proptest::collection::vec((1_u64..FRAMES - 30, 0_u64..25), 0..3),
        proptest::collection::vec((0_u64..FRAMES, events()), 1..16),
    )
        .prop_map(
            |((group, reorder, heeds, max_files), (open, lost), ring_bytes, dropped, pace, cuts, events)| {
                World {
                    group,
                    reorder: if group == 0 { 0 } else { reorder },
                    heeds,
                    open,
                    lost: if group == 0 { BTreeSet::new() } else { lost },
                    ring_bytes,
                    dropped,
                    pace,
                    max_files,
                    cuts,
                    events,
                }
            },
        )
}

proptest! {
    /// Each order is answered with exactly the frames that it names, and every frame that the answer calls saved is on disk,
    /// once, and can be decoded: whatever is ordered, stopped, cancelled and repeated, whatever the camera drops and the
    /// encoder reorders, however slow the disk, and whenever the power fails.
    #[test]
    fn every_order_is_accounted_for(world in worlds()) {
        let (orders, device) = play(&world);
        prop_assert_eq!(device.queue.open_orders().count(), 0);
        for order in &orders {
            check_account(order, &device)?;
        }
        check_decodable(&device)?;
    }

    /// With enough power, memory and disk, every named frame that the camera took is saved.
    #[test]
    fn every_frame_that_arrives_is_saved(world in worlds()) {
        let events = world.events.iter().filter(|(_, event)| matches!(event, Event::Order { .. }));
        let events = events.cloned().collect();
        let world = World {
            open: false,
            lost: BTreeSet::new(),
            ring_bytes: 1_000_000,
            pace: 1000,
            max_files: None,
            cuts: Vec::new(),
            events,
            ..world
        };
        let (orders, device) = play(&world);
        for order in &orders {
            check_account(order, &device)?;
            let end = ORIGIN + FRAMES - if world.reorder > 0 { world.reorder } else { 0 };
            let taken: Vec<_> = (ORIGIN..end).filter(|n| !world.dropped.contains(&(n - ORIGIN))).collect();
            let disk = device.copies_on_disk(order.id());
            let named = order.named(grid());
            for number in taken.into_iter().filter(|n| named.contains(*n)) {
                // Frames that the encoder holds at the end never arrive.
                let held = world.reorder > 0 && number + 2 * world.reorder + 40 >= end;
                prop_assert!(disk.contains_key(&number) || held, "{} of {:?}: {:?}", number, order, device.answers[order.id()]);
            }
        }
    }

    /// Two devices name the same frames, although their cameras drop other frames and their disks differ.
    #[test]
    fn devices_agree_on_the_numbers(world in worlds(), dropped in proptest::collection::btree_set(0_u64..FRAMES, 0..40)) {
        let world = World { cuts: Vec::new(), ..world };
        let other = World { dropped, pace: 3, ring_bytes: 3_000, ..world.clone() };
        let (orders, one) = play(&world);
        let (_, two) = play(&other);
        // A stop or cancellation may come before the end on one device and after it on the other.
        let stopped = world.events.iter().any(|(_, event)| matches!(event, Event::Stop(_, offset) if *offset < 1));
        let late = |device: &Device<'_>, id: &OrderId| stopped || device.cut_short.contains(id);
        for order in orders.iter().filter(|o| !late(&one, o.id()) && !late(&two, o.id())) {
            let span = |device: &Device<'_>| {
                let answer = &device.answers[order.id()];
                (answer.named(), answer.frames.first().map(|run| run.first), answer.frames.last().map(|run| run.last))
            };
            prop_assert_eq!(span(&one), span(&two));
        }
    }
}
