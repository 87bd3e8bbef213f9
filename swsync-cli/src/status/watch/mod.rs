//! `swsync status --watch` on a terminal: devices in trouble first, their last minutes, orders under way, and keys to shoot,
//! record and stop.
//!
//! One thread draws and reads events from a channel; others read keys, ask the devices, and do what keys ask for. None of them
//! is joined: the process ends with the view.

mod actions;
mod history;
mod model;
mod open_orders;
mod view;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::widgets::Paragraph;
use swsync_client::{Rig, StatusUpdate};

use crate::exit;
use crate::signals::{Signal, on_signal};
use actions::{Action, Message};
use model::{Model, Wish};
use view::{Theme, screen};

/// How often the screen is drawn at least: ages and progress go on between updates.
const REDRAW: Duration = Duration::from_millis(500);

/// Whether the view can be shown: both ends are a terminal, and it can move its cursor.
pub fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// What the view reacts to.
enum WatchEvent {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// The terminal is gone.
    NoKeys(io::Error),
    Update(Box<StatusUpdate>),
    Message(Message),
    /// An action has ended, and was done or not.
    ActionOver(Action, bool),
    Signal(Signal),
}

/// Shows the view until the operator ends it.
///
/// # Errors
/// The terminal fails.
pub fn run(rig: &Rig, every: Duration) -> anyhow::Result<ExitCode> {
    let (events, inbox) = mpsc::channel();
    let signals = events.clone();
    on_signal(move |signal| {
        let _ = signals.send(WatchEvent::Signal(signal)); // fails if the view has ended already
    })
    .context("cannot catch signals")?;
    let mut terminal = ratatui::try_init().context("cannot set the terminal up")?;
    let mut view = View {
        model: Model::new(rig.name().to_string(), every),
        theme: Theme { has_colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) },
        rig: rig.clone(),
        events,
        begun: Instant::now(),
    };
    view.start_threads(every);
    let ended = view.run(&mut terminal, &inbox);
    ratatui::restore();
    ended
}

struct View {
    model: Model,
    theme: Theme,
    rig: Rig,
    events: Sender<WatchEvent>,
    begun: Instant,
}

impl View {
    /// Starts the threads that read keys and ask the devices. They end with the process, or once nobody reads the channel.
    fn start_threads(&self, every: Duration) {
        let keys = self.events.clone();
        thread::spawn(move || {
            loop {
                let event = match event::read() {
                    Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => WatchEvent::Key(key),
                    Ok(Event::Resize(..)) => WatchEvent::Resized,
                    Ok(_) => continue,
                    Err(error) => WatchEvent::NoKeys(error),
                };
                let is_last = matches!(event, WatchEvent::NoKeys(_));
                if keys.send(event).is_err() || is_last {
                    return;
                }
            }
        });
        let (updates, statuses) = (self.events.clone(), self.rig.statuses(every));
        thread::spawn(move || {
            for update in statuses {
                if updates.send(WatchEvent::Update(Box::new(update))).is_err() {
                    return;
                }
            }
        });
    }

    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        inbox: &Receiver<WatchEvent>,
    ) -> anyhow::Result<ExitCode> {
        loop {
            self.draw(terminal)?;
            let first = match inbox.recv_timeout(REDRAW) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("this view holds a sender itself"),
            };
            // What has come meanwhile is handled before the next drawing: a slow terminal must not fall behind.
            for event in first.into_iter().chain(inbox.try_iter()) {
                if let Some(code) = self.handle(event)? {
                    return Ok(code);
                }
            }
        }
    }

    /// Handles an event. Returns the exit code if it is the last one.
    fn handle(&mut self, event: WatchEvent) -> anyhow::Result<Option<ExitCode>> {
        let now = self.begun.elapsed();
        match event {
            WatchEvent::Key(key) => match self.model.handle_key(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(Some(ExitCode::SUCCESS)),
                Wish::Interrupt => return Ok(Some(ExitCode::from(exit::INTERRUPTED))),
                Wish::Act(action) => self.start(action, now),
            },
            WatchEvent::Resized => {}
            WatchEvent::NoKeys(error) => return Err(error).context("cannot read keys from the terminal"),
            WatchEvent::Update(update) => self.model.handle_update(*update, self.rig.is_open(), now),
            WatchEvent::Message(message) => self.model.handle_message(message, now),
            WatchEvent::ActionOver(action, is_done) => self.model.handle_over(&action, is_done),
            WatchEvent::Signal(signal) => {
                return Ok(Some(ExitCode::from(signal.exit_code())));
            }
        }
        Ok(None)
    }

    /// Does `action` in a thread, which tells what happens and ends by itself.
    fn start(&mut self, action: Action, now: Duration) {
        self.model.handle_begun(&action, now);
        let (rig, events) = (self.rig.clone(), self.events.clone());
        thread::spawn(move || {
            // Sending fails if the view has ended.
            let is_done = action.run(&rig, &|message| drop(events.send(WatchEvent::Message(message))));
            let _ = events.send(WatchEvent::ActionOver(action, is_done));
        });
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        let drawn = terminal.draw(|frame| {
            let area = frame.area();
            let (width, height) = (usize::from(area.width), usize::from(area.height));
            let lines = screen(&self.model, self.theme, self.begun.elapsed(), width, height);
            frame.render_widget(Paragraph::new(lines), area);
        });
        drawn.context("cannot write to the terminal")?;
        Ok(())
    }
}
