//! `swsync status --watch` on a real terminal: a pseudo-terminal with a small emulator behind it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::rig::{Does, Rig, TIMEOUT};
use swsync_core::frame::SyncState;
use swsync_core::order::OrderKind;

/// What a terminal shows. It knows what ratatui's crossterm backend writes: text, cursor positions, clearing, the alternate screen.
#[derive(Default)]
struct Screen {
    cells: Vec<Vec<char>>,
    cursor: (usize, usize),
    is_alternate: bool,
    is_cursor_hidden: bool,
}

impl Screen {
    fn text(&self) -> String {
        let lines = self.cells.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn put(&mut self, c: char) {
        let (row, column) = self.cursor;
        if self.cells.len() <= row {
            self.cells.resize(row + 1, Vec::new());
        }
        let line = &mut self.cells[row];
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = c;
        self.cursor.1 += 1;
    }

    /// Handles an escape sequence: its parameters, and the character that ends it.
    fn control(&mut self, parameters: &str, end: char) {
        let number = |index: usize| parameters.split(';').nth(index).and_then(|n| n.parse::<usize>().ok());
        match (parameters, end) {
            ("?1049", 'h' | 'l') => (self.is_alternate, self.cells) = (end == 'h', Vec::new()),
            ("?25", 'h' | 'l') => self.is_cursor_hidden = end == 'l',
            (_, 'H') => self.cursor = (number(0).unwrap_or(1) - 1, number(1).unwrap_or(1) - 1),
            (_, 'J') => self.cells.clear(),
            _ => {} // colours
        }
    }

    fn feed(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' => {
                    if chars.next() != Some('[') {
                        continue;
                    }
                    let mut parameters = String::new();
                    let end = chars.by_ref().find(|c| {
                        let is_end = ('@'..='~').contains(c);
                        parameters.extend((!is_end).then_some(*c));
                        is_end
                    });
                    self.control(&parameters, end.expect("a whole sequence"));
                }
                '\r' => self.cursor.1 = 0,
                '\n' => self.cursor = (self.cursor.0 + 1, 0),
                c => self.put(c),
            }
        }
    }
}

/// How much of `bytes` is whole characters and whole escape sequences.
fn whole(bytes: &[u8]) -> usize {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) => error.valid_up_to(),
    };
    let bytes = &bytes[..text];
    match bytes.iter().rposition(|byte| *byte == 0x1b) {
        Some(escape) if !bytes[escape..].iter().skip(2).any(|byte| (b'@'..=b'~').contains(byte)) => escape,
        _ => text,
    }
}

/// The command in a terminal of its own.
struct Terminal {
    child: Child,
    master: File,
    slave: File,
    screen: Arc<Mutex<Screen>>,
}

impl Terminal {
    /// Starts `command` as a session of its own, whose terminal has 80 columns and 24 lines.
    fn start(command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let (master, screen) = (File::from(master), Arc::new(Mutex::new(Screen::default())));
        let mut terminal_command = Command::new("setsid");
        terminal_command.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        terminal_command.env("TERM", "xterm-256color");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => terminal_command.env(name, value),
                None => terminal_command.env_remove(name),
            };
        }
        let end = || slave.try_clone().unwrap();
        set_size(&master, 80, 24);
        let child = terminal_command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (mut output, shown) = (master.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let (mut bytes, mut rest) = ([0; 4_096], Vec::new());
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                rest.extend_from_slice(&bytes[..count]);
                let whole = whole(&rest);
                shown.lock().unwrap().feed(std::str::from_utf8(&rest[..whole]).unwrap());
                rest.drain(..whole);
            }
        });
        Self { child, master, slave, screen }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().text()
    }

    /// Waits until the screen shows `text`.
    fn wait_for(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.text().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < TIMEOUT,
                "no {text:?} ({ended:?}) in\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, key: &str) {
        self.master.write_all(key.as_bytes()).unwrap();
    }

    /// Waits for the end of the command, and asserts that the terminal is as it was.
    fn assert_restored(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        let begun = Instant::now();
        let is_restored = |screen: &Screen| !screen.is_alternate && !screen.is_cursor_hidden;
        while !is_restored(&self.screen.lock().unwrap()) {
            assert!(begun.elapsed() < TIMEOUT, "the terminal stays as the view had it");
            std::thread::sleep(Duration::from_millis(10));
        }
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if it has ended
    }
}

fn set_size(master: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

#[test]
fn the_view_opens_shoots_follows_its_terminal_and_leaves_it_as_it_was() {
    let rig = Rig::new().with_clock("left", Does::Save, SyncState::Leading).with("right", Does::Save);
    let mut terminal = Terminal::start(&rig.command(&["status", "--watch", "--every", "200ms"]));
    terminal.wait_for("2 devices: 2 ready, 0 not ready, 0 silent");
    terminal.wait_for(" left   leading       21.0 locked        -4.0");
    terminal.press("s");
    terminal.wait_for("all saved: 2 of 2 devices complete, 2.46 kB");
    println!("{}", terminal.text());
    let [order] = &rig.device(1).orders()[..] else { panic!("one order") };
    assert_eq!(order.kind(), OrderKind::Still { every: None, count: Some(1) });
    assert!(terminal.text().contains(order.id().as_str()));

    set_size(&terminal.master, 120, 30);
    let begun = Instant::now();
    while !terminal.text().lines().nth(29).is_some_and(|line| line.contains("q quit")) {
        assert!(begun.elapsed() < TIMEOUT, "{}", terminal.text());
        std::thread::sleep(Duration::from_millis(10));
    }
    terminal.press("q");
    assert_eq!(terminal.assert_restored().code(), Some(0));
}

#[test]
fn the_view_refuses_to_shoot_if_a_device_is_not_ready_and_sigterm_restores_the_terminal() {
    let rig = Rig::new().with("left", Does::Save).with_clock("right", Does::Save, SyncState::Holdover);
    let mut terminal = Terminal::start(&rig.command(&["status", "--watch", "--every", "200ms"]));
    terminal.wait_for("!right  holdover");
    terminal.press("s");
    terminal.wait_for("NOT shot: right is not ready: its clock is holdover");
    assert!(rig.device(0).orders().is_empty());
    kill_process(Pid::from_child(&terminal.child), Signal::TERM).unwrap();
    let status = terminal.assert_restored();
    assert_eq!((status.code(), status.signal()), (Some(143), None));

    let mut terminal = Terminal::start(&rig.command(&["status", "--watch"]));
    terminal.wait_for("!right  holdover");
    terminal.press("\x03");
    assert_eq!(terminal.assert_restored().code(), Some(130), "Ctrl-C");
}
