//! Random orders, drops, encoders, disks and power cuts in simulated time: the frames saved are exactly those named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::name::Name;
use crate::order::testing::info;
use crate::order::{Fill, GRACE, OrderKind};
use crate::ring::Coding;
use crate::time::Span;

/// Frames since the rig started, as far as these worlds go. Numbers on the grid are `ORIGIN` more.
const FRAMES: u64 = 240;
const ORIGIN: u64 = 54_000_000_000;

/// A frame as it comes out of the encoder: its place among those that came out since the encoder was started.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Picture {
    run: usize,
    place: u64,
    coding: Coding,
    /// Place of the last key frame, and how many frames right before this one are shown before that.
    key: u64,
    leading: u64,
}

/// What a world is made of.
#[derive(Debug, Clone)]
struct World {
    /// Key frames lie so far apart, 0: pictures that stand alone.
    group: u64,
    /// The encoder puts so many frames behind the one after them.
    reorder: u64,
    /// Whether it heeds requests for key frames.
    heeds: bool,
    /// Whether key frames that were not asked for come before frames that are shown before them.
    open: bool,
    /// Frames that are lost behind the encoder, counted as they come out of it.
    leaks: BTreeSet<u64>,
    ring_bytes: usize,
    dropped: BTreeSet<u64>,
    /// Frames that the writer finishes in a period.
    pace: usize,
    /// Files of an order that the writer keeps, if not all.
    max_files: Option<usize>,
    /// Frames at whose time the power goes, and how long it is off; of an odd number the device is stopped in good order.
    cuts: Vec<(u64, u64)>,
    events: Vec<(u64, Event)>,
}

#[derive(Debug, Clone)]
enum Event {
    /// An order for what begins so many frames from now.
    Order {
        offset: i64,
        kind: OrderKind,
        length: Option<u64>,
    },
    /// Stops the so manieth order at so many frames from now.
    Stop(usize, i64),
    Cancel(usize),
    /// Gives it once more.
    Again(usize),
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Order, segment, and how often the device was restarted before.
type File = (OrderId, u64, usize);

/// A device: what survives a power cut, and what does not.
struct Device<'a> {
    world: &'a World,
    desk: OrderQueue<Picture>,
    /// What was handed to the writer.
    queue: VecDeque<OrderAction<Picture>>,
    /// Requests that the encoder has not come to.
    key_requests: BTreeSet<FrameNumber>,
    journal: Journal,
    /// The frames in each file as they were written.
    disk: BTreeMap<File, Vec<(Picture, FrameNumber, FramePurpose)>>,
    /// Of each order the number before which its frames are gone from the disk again.
    removed: BTreeMap<OrderId, FrameNumber>,
    answers: BTreeMap<OrderId, Answer>,
    /// Frames in the account of an order after its stop, which came too late for them.
    late: BTreeMap<OrderId, u64>,
    /// Orders that had no end when they were cancelled: they end with what they had.
    cut_short: BTreeSet<OrderId>,
    run: usize,
}

impl<'a> Device<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            desk: Self::desk(world),
            queue: VecDeque::new(),
            key_requests: BTreeSet::new(),
            journal: Journal::default(),
            disk: BTreeMap::new(),
            removed: BTreeMap::new(),
            answers: BTreeMap::new(),
            late: BTreeMap::new(),
            cut_short: BTreeSet::new(),
            run: 0,
        }
    }

    fn desk(world: &World) -> OrderQueue<Picture> {
        let desk = OrderQueue::new(name("pi"), RingLimits { bytes: world.ring_bytes, time: Span::MAX });
        desk.with_files_apart(world.max_files.is_some())
    }

    /// The power goes and comes back.
    fn restart(&mut self) {
        self.desk = Self::desk(self.world);
        self.queue.clear();
        self.key_requests.clear();
        self.run += 1;
        let (journal, disk, removed) = (self.journal.clone(), &self.disk, &self.removed);
        let actions = self.desk.restore(journal, |order| {
            let frames = disk.iter().filter(|((id, ..), _)| id == order.id()).flat_map(|(_, frames)| frames);
            let named = frames.filter(|(.., purpose)| *purpose == FramePurpose::Named);
            let named = named.map(|(_, number, _)| FrameRun::one(*number, saved(*number)));
            gone(order, removed).into_iter().chain(named).collect()
        });
        self.carry_out(actions);
        let actions = self.desk.set_grid(grid());
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<OrderAction<Picture>>) {
        for action in actions {
            match action {
                OrderAction::Journal(record) => self.journal.apply(record),
                OrderAction::RequestKey { number, .. } => {
                    self.key_requests.insert(number);
                }
                // Another follows.
                OrderAction::Answer(answer) if answer.unfinished.is_some() => assert!(!answer.is_complete()),
                OrderAction::Answer(answer) => {
                    let before = self.answers.insert(answer.order.clone(), answer.clone());
                    assert!(before.is_none_or(|before| before == answer), "two answers: {answer:?}");
                }
                work => self.queue.push_back(work),
            }
        }
        let (waiting, limit) = self.desk.backlog();
        assert!(waiting <= limit.max(100) + self.world.ring_bytes, "{waiting} bytes wait");
        assert!(self.desk.ring().bytes() <= self.world.ring_bytes.max(100));
    }

    /// The writer does so much.
    fn write(&mut self, mut pace: usize) {
        while pace > 0
            && let Some(work) = self.queue.pop_front()
        {
            match work {
                OrderAction::Save { order, ticket, number, segment, purpose, payload } => {
                    pace -= 1;
                    self.disk
                        .entry((order.clone(), segment, self.run))
                        .or_default()
                        .push((payload, number, purpose));
                    if purpose == FramePurpose::Named {
                        self.desk.handle_written(&order, number..=number, saved(number));
                    }
                    self.remove_surplus(&order);
                    let more = self.desk.handle_released(ticket);
                    self.carry_out(more);
                }
                OrderAction::Close { order } | OrderAction::Suspend { order, .. } => {
                    let more = self.desk.handle_closed(&order);
                    self.carry_out(more);
                }
                OrderAction::Begin { .. } | OrderAction::Hole { .. } => {}
                OrderAction::Journal(_) | OrderAction::RequestKey { .. } | OrderAction::Answer(_) => {
                    unreachable!()
                }
            }
        }
    }

    /// The oldest files of an order go, as far as there are more than are kept.
    fn remove_surplus(&mut self, order: &OrderId) {
        let Some(max) = self.world.max_files else { return };
        loop {
            let files = self.disk.iter().filter(|((id, ..), _)| id == order);
            let last = |frames: &[(Picture, FrameNumber, FramePurpose)]| {
                frames
                    .iter()
                    .filter(|(.., purpose)| *purpose == FramePurpose::Named)
                    .map(|(_, number, _)| *number)
                    .max()
            };
            let files: BTreeMap<_, _> =
                files.filter_map(|(file, frames)| Some((last(frames)?, file.clone()))).collect();
            let before = self.removed.entry(order.clone()).or_default();
            let Some((last, oldest)) =
                files.first_key_value().filter(|(last, _)| files.len() > max || *last < before)
            else {
                return;
            };
            *before = (*before).max(last + 1);
            let gone = self.disk.remove(oldest).expect("just found");
            let gone = gone.iter().filter(|(.., purpose)| *purpose == FramePurpose::Named).count() as u64;
            self.desk.handle_removed(order, *before, (gone, gone), REMOVED);
        }
    }

    fn command(&mut self, command: &OrderCommand) -> CommandOutcome {
        let (outcome, actions) = self.desk.handle_command(command);
        if let CommandOutcome::Late { surplus } = outcome {
            self.late.insert(command.order().clone(), surplus);
        }
        self.carry_out(actions);
        outcome
    }
}

const REMOVED: &str = "removed";

/// What a restarted device knows of frames that are gone again.
fn gone(order: &Order, removed: &BTreeMap<OrderId, FrameNumber>) -> Option<FrameRun> {
    let before = *removed.get(order.id())?;
    let named = order.unstopped().named(grid());
    let (first, last) = (named.first(), named.last_before(before)?);
    let count = named.count_in(first..before);
    Some(FrameRun { first, last, count, outcome: FrameOutcome::Missed { why: REMOVED.into() } })
}

fn saved(number: FrameNumber) -> FrameOutcome {
    FrameOutcome::Saved { file: format!("{number}.jpg"), bytes: 1, info: info(number) }
}

/// What comes out of the encoder for frames of one run of it, in the order of their coming.
#[derive(Default)]
struct Encoder {
    held: Option<FrameNumber>,
    behind: Vec<FrameNumber>,
    since_key: u64,
    place: u64,
    key: u64,
    leading: u64,
    lacks: bool,
    lacks_before: bool,
}

impl Encoder {
    fn encode(&mut self, number: FrameNumber, device: &mut Device<'_>) -> Vec<RingFrame<Picture>> {
        let world = device.world;
        let asked = world.heeds && device.key_requests.range(..=number).next().is_some();
        let is_key = self.place == 0 && self.held.is_none() || asked || self.since_key >= world.group;
        if is_key && world.open && !asked && self.place > 0 {
            self.since_key = 1;
            let key = self.entry(number, Coding::OpenKey, device.run);
            let behind = std::mem::take(&mut self.behind);
            let behind = behind.into_iter().map(|number| self.entry(number, Coding::Leading, device.run));
            return std::iter::once(key).chain(behind.collect::<Vec<_>>()).collect();
        }
        if is_key {
            // A closed group: what was held back comes out before.
            let mut out = std::mem::take(&mut self.behind);
            out.sort_unstable();
            device.key_requests.retain(|key| *key > number);
            self.since_key = 1;
            let mut entries: Vec<_> =
                out.into_iter().map(|number| self.entry(number, Coding::Delta, device.run)).collect();
            entries.push(self.entry(number, Coding::Key, device.run));
            return entries;
        }
        self.since_key += 1;
        if (self.behind.len() as u64) < world.reorder {
            self.behind.push(number);
            return Vec::new();
        }
        let first = self.entry(number, Coding::Delta, device.run);
        let behind = std::mem::take(&mut self.behind)
            .into_iter()
            .map(|number| self.entry(number, Coding::Delta, device.run));
        std::iter::once(first).chain(behind.collect::<Vec<_>>()).collect()
    }

    fn entry(&mut self, number: FrameNumber, coding: Coding, run: usize) -> RingFrame<Picture> {
        self.place += 1;
        if coding.is_key() {
            self.key = self.place;
        }
        let payload = Picture { run, place: self.place, coding, key: self.key, leading: self.leading };
        self.leading = if coding.is_leading() { self.leading + 1 } else { 0 };
        RingFrame { number, time: grid().instant(number), bytes: 100, coding, gap: None, payload }
    }

    /// What arrives of what came out.
    fn leak(&mut self, mut entry: RingFrame<Picture>, leaks: &BTreeSet<u64>) -> Option<RingFrame<Picture>> {
        if leaks.contains(&entry.payload.place) {
            self.lacks = true;
            return None;
        }
        if entry.coding.is_key() {
            self.lacks_before = std::mem::take(&mut self.lacks);
        }
        if self.lacks {
            entry.coding = Coding::Undecodable;
        } else if self.lacks_before && entry.coding == Coding::Leading {
            entry.coding = Coding::UndecodableLeading;
        }
        entry.payload.coding = entry.coding;
        Some(entry)
    }
}

/// Plays the world. The orders that the device took, and the device in the end.
fn play(world: &World) -> (Vec<Order>, Device<'_>) {
    let mut device = Device::new(world);
    let actions = device.desk.set_grid(grid());
    device.carry_out(actions);
    let mut encoder = Encoder::default();
    let mut orders: Vec<Order> = Vec::new();
    let mut off_until = 0;
    for now in 0..FRAMES {
        let number = ORIGIN + now;
        if let Some((_, length)) = world.cuts.iter().find(|(at, _)| *at == now) {
            off_until = now + 1 + length;
            if length % 2 == 1 {
                let actions = device.desk.handle_stop();
                device.carry_out(actions);
                device.write(usize::MAX);
                assert!(device.desk.is_idle());
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
            for entry in
                out.into_iter().filter_map(|entry| encoder.leak(entry, &world.leaks)).collect::<Vec<_>>()
            {
                let actions = device.desk.handle_frame(entry);
                device.carry_out(actions);
            }
        }
        let actions = device.desk.handle_timeout(grid().instant(number));
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
        // The camera has stopped; the writer ends its work.
        device.write(usize::MAX);
        let late = grid().instant(ORIGIN + FRAMES + 500) + GRACE;
        let actions = device.desk.handle_timeout(late);
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
            let actions = device.desk.handle_order(order).unwrap();
            device.carry_out(actions);
        }
        Event::Again(index) if *index < orders.len() => {
            let actions = device.desk.handle_order(orders[*index].clone()).unwrap();
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
            |((group, reorder, heeds, max_files), (open, leaks), ring_bytes, dropped, pace, cuts, events)| {
                World {
                    group,
                    reorder: if group == 0 { 0 } else { reorder },
                    heeds,
                    open,
                    leaks: if group == 0 { BTreeSet::new() } else { leaks },
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

/// What is on disk of an order by number, and how often.
fn on_disk(device: &Device<'_>, order: &OrderId) -> BTreeMap<FrameNumber, usize> {
    let mut numbers = BTreeMap::new();
    for (_, frames) in device.disk.iter().filter(|((id, ..), _)| id == order) {
        for (_, number, _) in frames.iter().filter(|(.., purpose)| *purpose == FramePurpose::Named) {
            *numbers.entry(*number).or_default() += 1;
        }
    }
    numbers
}

/// The answer is there, names what the order names (with what a late stop could not take back), and agrees with the disk.
fn check_account(order: &Order, device: &Device<'_>) -> Result<(), TestCaseError> {
    let Some(answer) = device.answers.get(order.id()) else {
        return Err(TestCaseError::fail(format!("no answer to {order:?}")));
    };
    prop_assert_eq!(&answer.unnumbered, &None);
    let unstopped = order.unstopped().named(grid());
    let mut account = BTreeMap::new();
    let mut after = 0;
    for run in &answer.frames {
        prop_assert!(run.first >= after && run.last >= run.first, "{:?}", answer);
        after = run.last + 1;
        let numbers: Vec<_> =
            std::iter::successors(unstopped.next_from(run.first), |n| unstopped.next_from(n + 1))
                .take_while(|n| *n <= run.last)
                .collect();
        prop_assert_eq!(numbers.len() as u64, run.count, "{:?}", answer);
        for number in numbers {
            account.insert(number, run.saved() > 0);
        }
    }
    if let (Some(all), false) = (order.named(grid()).iter(), device.cut_short.contains(order.id())) {
        let mut expected: Vec<_> = all.collect();
        let numbers: Vec<_> = account.keys().copied().collect();
        for _ in 0..device.late.get(order.id()).copied().unwrap_or(0) {
            // Of what lies after the stop a restart forgets what is not on disk.
            if !device.world.cuts.is_empty() && numbers == expected {
                break;
            }
            let after = expected.last().map_or(unstopped.first(), |last| last + 1);
            expected.extend(unstopped.next_from(after));
        }
        prop_assert_eq!(numbers, expected, "{:?} of {:?}", answer, order);
    }
    let disk = on_disk(device, order.id());
    let saved: Vec<_> = account.iter().filter(|(_, saved)| **saved).map(|(n, _)| *n).collect();
    prop_assert_eq!(saved, disk.keys().copied().collect::<Vec<_>>(), "{:?} of {:?}", answer, order);
    prop_assert!(disk.values().all(|copies| *copies == 1), "{:?}", disk);
    Ok(())
}

/// Every file begins with a key frame, and every frame that builds on others comes right after them.
fn check_decodable(device: &Device<'_>) -> Result<(), TestCaseError> {
    for (file, frames) in &device.disk {
        let mut last: Option<Picture> = None;
        // Place of the key frame since which none is missing.
        let mut begin = 0;
        for (picture, number, _) in frames {
            let place = picture.place;
            let before = last.filter(|last| last.run == picture.run && last.place < place);
            let between = before.map(|last| place - last.place - 1);
            // It may come without what is shown before the key frame.
            let is_next = between.is_some_and(|between| between <= picture.leading);
            let is_there = match picture.coding {
                Coding::Key | Coding::OpenKey => {
                    begin = if is_next { begin } else { place };
                    true
                }
                Coding::Delta => is_next,
                Coding::Leading => between == Some(0) && begin < picture.key,
                Coding::Undecodable | Coding::UndecodableLeading => false,
            };
            prop_assert!(is_there, "{:?}: frame {} in {:?}", file, number, frames);
            last = Some(*picture);
        }
        let named = frames.last().is_some_and(|(.., purpose)| *purpose == FramePurpose::Named);
        // The power may have gone between a lead-in and its frame.
        prop_assert!(named || !device.world.cuts.is_empty(), "{:?} ends with what nobody asked for", file);
    }
    Ok(())
}

proptest! {
    /// Whatever is ordered, stopped, cancelled and repeated, whatever the camera drops and the encoder reorders, however
    /// slow the disk and whenever the power goes: each order is answered, with exactly the frames that it named, and what
    /// it says is saved is on disk, once, and can be decoded.
    #[test]
    fn every_order_is_accounted_for(world in worlds()) {
        let (orders, device) = play(&world);
        prop_assert_eq!(device.desk.open_orders().count(), 0);
        for order in &orders {
            check_account(order, &device)?;
        }
        check_decodable(&device)?;
    }

    /// Where power, memory and disk suffice and no one interferes, everything is saved that the camera took.
    #[test]
    fn nothing_is_missed_that_could_be_had(world in worlds()) {
        let events = world.events.iter().filter(|(_, event)| matches!(event, Event::Order { .. }));
        let events = events.cloned().collect();
        let world = World {
            open: false, leaks: BTreeSet::new(), ring_bytes: 1_000_000, pace: 1000, max_files: None, cuts: Vec::new(), events, ..world };
        let (orders, device) = play(&world);
        for order in &orders {
            check_account(order, &device)?;
            let end = ORIGIN + FRAMES - if world.reorder > 0 { world.reorder } else { 0 };
            let taken: Vec<_> = (ORIGIN..end).filter(|n| !world.dropped.contains(&(n - ORIGIN))).collect();
            let disk = on_disk(&device, order.id());
            let named = order.named(grid());
            for number in taken.into_iter().filter(|n| named.contains(*n)) {
                // What the encoder still held in the end never came.
                let held = world.reorder > 0 && number + 2 * world.reorder + 40 >= end;
                prop_assert!(disk.contains_key(&number) || held, "{} of {:?}: {:?}", number, order, device.answers[order.id()]);
            }
        }
    }

    /// Two devices whose cameras drop other frames and whose disks are of other speed name the same frames.
    #[test]
    fn devices_agree_on_the_numbers(world in worlds(), dropped in proptest::collection::btree_set(0_u64..FRAMES, 0..40)) {
        let world = World { cuts: Vec::new(), ..world };
        let other = World { dropped, pace: 3, ring_bytes: 3_000, ..world.clone() };
        let (orders, one) = play(&world);
        let (_, two) = play(&other);
        // A stop may come before the end on one and after it on the other, and so may a cancellation.
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
