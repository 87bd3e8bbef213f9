//! What the view shows and where the operator is in it; what keys change. Knows neither terminal nor network.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use swsync_client::StatusUpdate;
use swsync_client::snapshot::default_id;
use swsync_core::name::{DeviceId, OrderId};

use super::actions::{Action, Message, Tone};
use super::history::History;
use super::open_orders::OpenOrder;
use crate::orders::leaders::HANDOVER;
use crate::status::report::RigStatus;

/// Most messages that are kept.
const MAX_MESSAGES: usize = 200;

/// Most actions at a time: keys that are held down must not give hundreds of orders.
pub const MAX_RUNNING: usize = 4;

/// What the screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// All devices.
    Devices,
    /// One device.
    Details(DeviceId),
    /// The keys, and what columns mean.
    Help,
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Only the view has changed, if at all.
    Nothing,
    /// To end.
    Quit,
    /// To end, as Ctrl-C does.
    Interrupt,
    /// To do something with the rig.
    Act(Action),
}

/// A message, and when it came, counted from the start.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When it came.
    pub at: Duration,
    /// What it says.
    pub message: Message,
}

/// The state of the view.
pub struct Model {
    /// The rig's name.
    pub rig: String,
    /// Time from one update to the next.
    pub every: Duration,
    /// The rig as it was last heard of.
    pub status: Option<RigStatus>,
    /// When that was, counted from the start.
    pub updated: Duration,
    /// Devices that do not answer, and for how long at the last update.
    pub silent_for: BTreeMap<DeviceId, Duration>,
    /// The last minutes of each device.
    pub history: BTreeMap<DeviceId, History>,
    /// What happened, the latest last.
    pub messages: VecDeque<Logged>,
    /// What the screen shows.
    pub page: Page,
    /// Only devices with this text are shown.
    pub filter: String,
    /// Whether keys go to the filter.
    pub is_filtering: bool,
    /// The device that the cursor is on.
    pub selected: Option<DeviceId>,
    /// Number of actions that are not over.
    pub running: usize,
    /// The take that was given here last, and when: it is not in the statuses at once.
    given: Option<(OrderId, Duration)>,
    /// Since when one time scale has had several leaders.
    split_since: Option<Duration>,
    is_first: bool,
}

impl Model {
    /// The view of `rig` before anything is known.
    pub fn new(rig: String, every: Duration) -> Self {
        Self {
            rig,
            every,
            status: None,
            updated: Duration::ZERO,
            silent_for: BTreeMap::new(),
            history: BTreeMap::new(),
            messages: VecDeque::new(),
            page: Page::Devices,
            filter: String::new(),
            is_filtering: false,
            selected: None,
            running: 0,
            given: None,
            split_since: None,
            is_first: true,
        }
    }

    /// Handles what the devices said at `now`. `is_open`: the rig has no key.
    pub fn handle_update(&mut self, update: StatusUpdate, is_open: bool, now: Duration) {
        let StatusUpdate { snapshot, came, left, silent_for, .. } = update;
        for report in &snapshot.reports {
            self.history.entry(report.status.device.clone()).or_default().add(now, &report.status);
        }
        if !self.is_first {
            came.iter()
                .for_each(|device| self.say(now, Tone::Plain, format!("{device} has come into the rig")));
        }
        left.iter().for_each(|device| self.say(now, Tone::Plain, format!("{device} has left the rig")));
        self.history.retain(|device, _| !left.contains(device));
        let back: Vec<_> =
            self.silent_for.keys().filter(|device| !silent_for.contains_key(*device)).cloned().collect();
        for device in back.iter().filter(|device| !left.contains(*device)) {
            self.say(now, Tone::Good, format!("{device} answers again"));
        }
        let lost: Vec<_> =
            silent_for.keys().filter(|device| !self.silent_for.contains_key(*device)).cloned().collect();
        for device in lost {
            let why = snapshot.missed.get(&device).map_or("", String::as_str);
            self.say(now, Tone::Bad, format!("{device} does not answer: {why}"));
        }
        let status = RigStatus::new(snapshot).open(is_open);
        self.split_since = status.is_split().then(|| self.split_since.unwrap_or(now));
        let lasts = self.split_since.is_some_and(|since| now.saturating_sub(since) >= HANDOVER);
        self.status = Some(status.lasting(lasts));
        (self.silent_for, self.updated, self.is_first) = (silent_for, now, false);
        // By the second update after it was given the statuses tell of it.
        let settled = self.every * 2 + Duration::from_secs(1);
        self.given.take_if(|(_, at)| now.saturating_sub(*at) > settled);
    }

    /// Handles a message at `now`.
    pub fn handle_message(&mut self, message: Message, now: Duration) {
        self.messages.push_back(Logged { at: now, message });
        while self.messages.len() > MAX_MESSAGES {
            self.messages.pop_front();
        }
    }

    fn say(&mut self, now: Duration, tone: Tone, text: String) {
        self.handle_message(Message::new(tone, text), now);
    }

    /// Whether updates have stopped coming: nothing is known of the devices then.
    pub fn is_stale(&self, now: Duration) -> bool {
        now.saturating_sub(self.updated) > self.every * 2 + Duration::from_secs(4)
    }

    /// The devices to show: those in trouble first, and of those the silent ones.
    pub fn devices(&self) -> Vec<DeviceId> {
        let Some(status) = &self.status else { return Vec::new() };
        let trouble = |device: &DeviceId| status.trouble(device);
        let rank = |device: &DeviceId, trouble: &[String]| match trouble {
            [] => 2,
            _ if self.silent_for.contains_key(device) => 0,
            _ => 1,
        };
        let all = status.snapshot().devices().map(|device| (device, trouble(device)));
        let shown = all.filter(|(device, trouble)| self.is_shown(device, trouble));
        let mut ranked: Vec<_> = shown.map(|(device, trouble)| (rank(device, &trouble), device)).collect();
        ranked.sort();
        ranked.into_iter().map(|(_, device)| device.clone()).collect()
    }

    fn is_shown(&self, device: &DeviceId, trouble: &[String]) -> bool {
        let wanted = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        wanted.is_empty() || has(device.as_str()) || trouble.iter().any(|text| has(text))
    }

    /// The orders under way.
    pub fn orders(&self) -> Vec<OpenOrder> {
        self.status.as_ref().map(|status| OpenOrder::of(status.snapshot())).unwrap_or_default()
    }

    /// The take that is running, and that the key for record and stop would stop.
    pub fn stoppable(&self) -> Option<OrderId> {
        let running = self.orders().into_iter().find(OpenOrder::is_endless);
        running.map(|order| order.id).or_else(|| self.given.as_ref().map(|(id, _)| id.clone()))
    }

    /// What that key does: it stops the take that is running, if there is one. `None`: rig time is not known.
    fn record_or_stop(&self) -> Option<Action> {
        if let Some(order) = self.stoppable() {
            return Some(Action::Stop(order));
        }
        let at = self.status.as_ref()?.snapshot().time()?;
        Some(Action::Record(default_id("take", at, rand::random()).ok()?))
    }

    /// Handles that `action` is begun.
    pub fn handle_begun(&mut self, action: &Action, now: Duration) {
        self.running += 1;
        match action {
            Action::Record(id) => self.given = Some((id.clone(), now)),
            Action::Stop(_) => self.given = None,
            Action::Shoot => {}
        }
    }

    /// Handles that `action` is over, and whether it was done.
    pub fn handle_over(&mut self, action: &Action, is_done: bool) {
        self.running = self.running.saturating_sub(1);
        if let (Action::Record(id), false) = (action, is_done) {
            self.given.take_if(|(given, _)| given == id);
        }
    }

    /// Handles a key.
    pub fn handle_key(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Wish::Interrupt } else { Wish::Nothing };
        }
        if self.is_filtering {
            self.handle_filter_key(key.code);
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('s') => return self.act(Action::Shoot),
            KeyCode::Char('r') => {
                return self.record_or_stop().map_or(Wish::Nothing, |action| self.act(action));
            }
            KeyCode::Char('?') | KeyCode::F(1) => {
                self.page = if self.page == Page::Help { Page::Devices } else { Page::Help };
            }
            KeyCode::Char('/') => (self.page, self.is_filtering) = (Page::Devices, true),
            KeyCode::Esc if self.page == Page::Devices => {
                (self.filter, self.selected) = (String::new(), None)
            }
            KeyCode::Esc => self.page = Page::Devices,
            KeyCode::Enter if self.page == Page::Devices => {
                let device = self.selected.clone().or_else(|| self.devices().first().cloned());
                if let Some(device) = device {
                    self.page = Page::Details(device);
                }
            }
            KeyCode::Enter => self.page = Page::Devices,
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-10),
            KeyCode::PageDown | KeyCode::Char(' ') => self.move_by(10),
            KeyCode::Home => self.move_by(isize::MIN / 2),
            KeyCode::End => self.move_by(isize::MAX / 2),
            _ => {}
        }
        Wish::Nothing
    }

    fn act(&mut self, action: Action) -> Wish {
        if self.running >= MAX_RUNNING {
            return Wish::Nothing;
        }
        self.page = Page::Devices; // where the messages are
        Wish::Act(action)
    }

    fn handle_filter_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc => (self.filter, self.is_filtering) = (String::new(), false),
            KeyCode::Enter => self.is_filtering = false,
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if self.filter.chars().count() < 40 => self.filter.push(c),
            _ => {}
        }
    }

    /// Moves the cursor by so many devices, or to the first or last one.
    fn move_by(&mut self, by: isize) {
        let devices = self.devices();
        let Some(last) = devices.len().checked_sub(1) else { return };
        let place = |device: &DeviceId| devices.iter().position(|other| other == device);
        let now = match &self.page {
            Page::Details(device) => place(device),
            Page::Devices | Page::Help => self.selected.as_ref().and_then(place),
        };
        let to = now.map_or(if by > 1 { last.min(by.unsigned_abs() - 1) } else { 0 }, |now| {
            now.saturating_add_signed(by).min(last)
        });
        let device = devices[to].clone();
        if matches!(self.page, Page::Details(_)) {
            self.page = Page::Details(device.clone());
        }
        self.selected = Some(device);
    }
}
