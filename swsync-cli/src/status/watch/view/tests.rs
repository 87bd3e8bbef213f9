use std::collections::BTreeMap;
use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::Paragraph;
use swsync_client::{Presence, RigSnapshot, StatusReport, StatusUpdate};
use swsync_core::frame::LockState;
use swsync_core::frame::SyncState;
use swsync_core::status::Status;
use swsync_core::time::Span;

use super::super::actions::{Action, Message};
use super::super::model::Wish;
use super::*;
use crate::testing::{name, progress, status};

const PLAIN: Theme = Theme { has_colours: false };

/// A device that is ready, and has nothing open.
fn ready(device: &str) -> Status {
    Status { open: Vec::new(), ..status(device) }
}

/// A device whose clock and camera are lost.
fn lost(device: &str) -> Status {
    let mut status = ready(device);
    status.clock.as_mut().unwrap().quality = SyncState::Holdover;
    let newest = &mut status.frames.as_mut().unwrap().newest;
    (newest.lock, newest.phase_error_ns) = (Some(LockState::Lost), Span::from_micros(-12_345));
    status
}

fn update(statuses: Vec<Status>, silent: &[&str]) -> StatusUpdate {
    let now = Instant::now();
    let silent_for: BTreeMap<_, _> =
        silent.iter().map(|device| (name(device), Duration::from_secs(12))).collect();
    let missed = silent.iter().map(|device| (name(device), "lost 12 s ago without a word: hung".to_owned()));
    let presence = Presence { missed: missed.collect(), ..Presence::default() };
    let reports = statuses.into_iter().map(|status| StatusReport { status, asked: now, heard: now });
    let snapshot = RigSnapshot::of(presence, reports.collect());
    StatusUpdate { snapshot, at: now, came: Default::default(), left: Default::default(), silent_for }
}

fn model(statuses: Vec<Status>, silent: &[&str]) -> Model {
    let mut model = Model::new("studio".into(), Duration::from_secs(1));
    model.handle_update(update(statuses, silent), false, Duration::from_secs(1));
    model
}

/// The screen as a terminal of this size shows it, a line each.
fn drawn(model: &Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let lines = screen(model, PLAIN, Duration::from_secs(2), width.into(), height.into());
    assert!(lines.iter().all(|line| line.width() <= width.into()), "a line is longer than the terminal");
    assert_eq!(lines.len(), usize::from(height));
    let frame = terminal.draw(|frame| frame.render_widget(Paragraph::new(lines), frame.area())).unwrap();
    let cells: Vec<_> = frame.buffer.content.iter().map(|cell| cell.symbol().to_owned()).collect();
    let lines = cells.chunks(usize::from(width).max(1)).map(|cells| cells.concat().trim_end().to_owned());
    lines.take(height.into()).collect()
}

fn press(model: &mut Model, code: KeyCode) -> Wish {
    let wish = model.handle_key(KeyEvent::new(code, KeyModifiers::NONE));
    if let Wish::Act(action) = &wish {
        model.handle_begun(action, Duration::from_secs(2));
    }
    wish
}

fn type_text(model: &mut Model, text: &str) {
    for c in text.chars() {
        press(model, KeyCode::Char(c));
    }
}

fn five() -> Model {
    model(vec![ready("cam1"), ready("cam2"), ready("cam4"), lost("cam5")], &["cam3"])
}

#[test]
fn trouble_comes_first_and_says_what_it_is_in_80x24() {
    let lines = drawn(&five(), 80, 24);
    println!("{}", lines.join("\n"));
    assert!(lines[0].starts_with(" swsync  rig studio"), "{lines:#?}");
    assert!(lines[0].ends_with("5 devices: 3 ready, 1 not ready, 1 silent"), "{lines:#?}");
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).expect(start);
    let first = at("!cam3");
    assert!(lines[first].starts_with("!cam3   no answer"), "{lines:#?}");
    assert_eq!(lines[first + 1], "    silent for 12 s: lost 12 s ago without a word: hung");
    assert_eq!(at("!cam5"), first + 2);
    assert!(lines[first + 2].starts_with("!cam5   holdover      20.0 lost      -12345.0"), "{lines:#?}");
    assert_eq!(lines[first + 3], "    its clock is holdover; its camera is lost");
    assert_eq!([at(" cam1"), at(" cam2"), at(" cam4")], [first + 4, first + 5, first + 6]);
    assert!(lines[first + 4].contains("+3.0") && lines[first + 4].ends_with('▃'), "{lines:#?}");
    assert!(lines[first + 2].contains('█'), "the last phase errors: {lines:#?}");
    assert!(lines[23].starts_with(" s shoot  q quit") && lines[23].ends_with("r record"), "{lines:#?}");
    assert!(lines[22].contains("cam3 does not answer: lost 12 s ago"), "the latest message: {lines:#?}");
}

/// The screen that docs/status.md shows.
fn screen_of_docs() -> String {
    let mut model = Model::new("studio".into(), Duration::from_secs(1));
    for second in 0..180_u64 {
        let statuses = (1..=5).filter(|number| *number != 3 || second < 168).map(|number| {
            let is_lost = number == 5 && second > 140;
            let mut status =
                if is_lost { lost(&format!("cam{number}")) } else { ready(&format!("cam{number}")) };
            let clock = status.clock.as_mut().unwrap();
            if is_lost {
                clock.uncertainty_ns =
                    Some(Span::from_micros(20 + 4 * (i64::try_from(second).unwrap() - 140)));
            } else {
                let phase =
                    Span::from_micros([2, -4, 11, 1, -2][usize::try_from(second / 18 + number).unwrap() % 5]);
                status.frames.as_mut().unwrap().newest.phase_error_ns = phase;
            }
            if second > 160 {
                let mut order = progress("take-20270115-080000-beef");
                (order.saved, order.bytes) = (30 * (second - 161), 3_000_000 * (second - 161));
                order.at_ns = status.clock.unwrap().rig_time_ns - Span::from_secs(19);
                status.open = vec![order];
            }
            status
        });
        let silent: &[&str] = if second < 168 { &[] } else { &["cam3"] };
        model.handle_update(update(statuses.collect(), silent), false, Duration::from_secs(second));
    }
    model.handle_message(
        Message::new(
            Tone::Bad,
            "NOT shot: cam3 is not ready: lost 12 s ago without a word: hung; cam5 is not \
             ready: its clock is holdover, its camera is lost",
        ),
        Duration::from_secs(175),
    );
    let lines = screen(&model, PLAIN, Duration::from_secs(180), 80, 24);
    let text = |line: &Line<'_>| line.spans.iter().map(|span| span.content.as_ref()).collect::<String>();
    lines.iter().map(|line| text(line).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_screen_in_the_documentation_is_what_is_drawn() {
    let shown = screen_of_docs();
    println!("{shown}");
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&shown), "put this into docs/status.md:\n{shown}");
}

#[test]
fn of_a_hundred_devices_the_bad_are_on_top_and_each_can_be_reached() {
    let mut statuses: Vec<_> = (0..99).map(|number| ready(&format!("cam{number:03}"))).collect();
    statuses[50] = lost("cam050");
    let mut model = model(statuses, &["cam099"]);
    let lines = drawn(&model, 80, 24);
    assert!(lines[0].contains("100 devices: 98 ready, 1 not ready, 1 silent"), "{lines:#?}");
    let row = |line: &str| line.starts_with([' ', '!']) && line[1..].starts_with("cam");
    let rows: Vec<_> = lines.iter().filter(|line| row(line)).map(|line| line[..7].to_owned()).collect();
    assert_eq!(rows[..3], ["!cam099", "!cam050", " cam000"]);
    assert!(rows.len() >= 12, "compact: {lines:#?}");
    let more = 100 - rows.len();
    assert!(lines.iter().any(|line| line.contains(&format!("{more} more below, 0 above"))), "{lines:#?}");

    for _ in 0..100 {
        press(&mut model, KeyCode::Down);
        let selected = model.selected.clone().unwrap();
        let lines = drawn(&model, 80, 24);
        assert!(lines.iter().any(|line| row(line) && line[1..].starts_with(selected.as_str())), "{lines:#?}");
    }
    assert_eq!(model.selected, Some(name("cam098")), "the last one");
    press(&mut model, KeyCode::Home);
    assert_eq!(model.selected, Some(name("cam099")), "the worst one");
    press(&mut model, KeyCode::PageDown);
    press(&mut model, KeyCode::End);
    assert!(drawn(&model, 80, 24).iter().any(|line| line.contains("above")));

    type_text(&mut model, "/cam05");
    let lines = drawn(&model, 80, 24);
    assert!(lines[23].starts_with("/cam05_"), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| row(line)).count(), 10, "{lines:#?}");
    press(&mut model, KeyCode::Enter);
    assert!(drawn(&model, 80, 24)[23].contains("[cam05]"));
    press(&mut model, KeyCode::Esc);
    type_text(&mut model, "/holdover");
    assert_eq!(model.devices(), [name("cam050")], "what is wrong is searched too");
    type_text(&mut model, "xyz");
    assert!(drawn(&model, 80, 24).iter().any(|line| line.contains("no device has")));
}

#[test]
fn an_order_under_way_is_shown_with_its_losses_and_can_be_stopped() {
    let mut statuses = vec![ready("a"), ready("b")];
    for status in &mut statuses {
        status.open = vec![progress("take-1")];
    }
    (statuses[1].open[0].lost, statuses[1].open[0].why) = (3, Some("the disk is slow".into()));
    let mut model = model(statuses, &[]);
    let lines = drawn(&model, 100, 24);
    let line = lines.iter().find(|line| line.starts_with("take-1  ")).expect("the order");
    assert!(line.contains("2 of 2 devices  40 frames  8.00 MB  3 lost, 3 on b: the disk is slow"), "{line}");
    assert!(lines[23].contains("r stop take-1"), "{lines:#?}");
    assert_eq!(press(&mut model, KeyCode::Char('r')), Wish::Act(Action::Stop(name("take-1"))));
}

#[test]
fn terminals_of_all_sizes_are_filled_and_wide_ones_show_all_columns() {
    let mut model = five();
    for page in [Page::Devices, Page::Help, Page::Details(name("cam3")), Page::Details(name("gone"))] {
        model.page = page;
        for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 10), (80, 24), (132, 43), (300, 80)] {
            drawn(&model, width, height);
        }
        screen(&model, PLAIN, Duration::ZERO, 0, 0);
    }
    model.page = Page::Devices;
    let narrow = drawn(&model, 30, 8);
    assert!(narrow.iter().any(|line| line.starts_with("!cam3   no answer")), "{narrow:#?}");
    let wide = drawn(&model, 220, 30);
    let heading = wide.iter().find(|line| line.starts_with(" device")).unwrap();
    for column in model.status.as_ref().unwrap().table().columns() {
        assert!(heading.contains(column.heading), "{} in {heading}", column.heading);
    }
    assert!(heading.contains("phase 3min") && heading.contains("clock 3min"), "{heading}");
}

#[test]
fn details_have_every_column_of_status() {
    let mut model = five();
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.page, Page::Details(name("cam5")));
    let text = drawn(&model, 80, 24).join("\n");
    for part in
        ["its clock is holdover; its camera is lost", "offset s    1.500000", "ring        2.0 s, 6.00 MB"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("the last 3 minutes") && text.contains('█'), "{text}");
    press(&mut model, KeyCode::Down);
    assert_eq!(model.page, Page::Details(name("cam1")));
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Char('?'));
    let text = drawn(&model, 80, 24).join("\n");
    assert!(text.contains("s       shoot") && text.contains("wide terminals"), "all of the help: {text}");
}

#[test]
fn keys_give_orders_but_not_by_hundreds_and_a_take_is_not_begun_twice() {
    let mut model = five();
    let Wish::Act(Action::Record(id)) = press(&mut model, KeyCode::Char('r')) else { panic!("it records") };
    assert!(id.as_str().starts_with("take-"));
    assert!(drawn(&model, 80, 24)[23].contains(&format!("r stop {id}")), "before any status tells of it");
    assert_eq!(model.stoppable(), Some(id.clone()));
    model.handle_over(&Action::Record(id), false);
    assert_eq!(model.stoppable(), None, "it was refused");

    let shots = (0..50).filter(|_| press(&mut model, KeyCode::Char('s')) == Wish::Act(Action::Shoot)).count();
    assert_eq!(shots, MAX_RUNNING);
    assert!(drawn(&model, 80, 24)[23].ends_with("(busy)"));
    model.handle_over(&Action::Shoot, true);
    assert_eq!(press(&mut model, KeyCode::Char('s')), Wish::Act(Action::Shoot));

    press(&mut model, KeyCode::Char('/'));
    assert_eq!(press(&mut model, KeyCode::Char('s')), Wish::Nothing, "a letter of the filter");
    assert_eq!(model.handle_key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Interrupt);
    press(&mut model, KeyCode::Esc);
    assert_eq!(press(&mut model, KeyCode::Char('q')), Wish::Quit);
}

#[test]
fn what_happens_is_told_and_old_news_is_called_old() {
    let mut model = five();
    let (now, later) = (Duration::from_secs(3), Duration::from_secs(20));
    let mut next = update(vec![ready("cam1"), ready("cam3"), ready("cam5"), ready("new")], &[]);
    (next.came, next.left) = ([name("new")].into(), [name("cam2"), name("cam4")].into());
    model.handle_update(next, true, now);
    model.handle_message(Message::new(Tone::Good, "shot-1: all saved"), now);
    let texts: Vec<_> = model.messages.iter().map(|logged| logged.message.text.as_str()).collect();
    let expected =
        ["new has come into the rig", "cam2 has left the rig", "cam4 has left the rig", "cam3 answers again"];
    assert_eq!(texts[1..5], expected);
    let lines = drawn(&model, 80, 24);
    assert!(lines[1].starts_with("open: no key"), "{lines:#?}");
    assert_eq!(lines[22], "  0s  shot-1: all saved");
    assert!(!model.is_stale(now) && model.is_stale(later));
    let old = screen(&model, PLAIN, later, 80, 24);
    let header: String = old[0].spans.iter().map(|span| span.content.as_ref()).collect();
    assert!(header.ends_with("NO NEWS for 17 s: what is below is old "), "{header}");
    for number in 0..1_000 {
        model.handle_message(Message::new(Tone::Plain, number.to_string()), now);
    }
    assert_eq!(model.messages.len(), 200);
}

#[test]
fn without_colours_none_are_used_and_trouble_is_marked_all_the_same() {
    let model = five();
    let colours = |theme| {
        let lines = screen(&model, theme, Duration::from_secs(2), 80, 24);
        let styles =
            lines.iter().flat_map(|line| line.spans.iter().map(|span| span.style).chain([line.style]));
        styles.filter(|style| style.fg.is_some() || style.bg.is_some()).count()
    };
    assert_eq!(colours(PLAIN), 0);
    assert!(colours(Theme { has_colours: true }) > 0);
}

#[test]
fn control_characters_of_a_device_do_not_reach_the_terminal() {
    let mut bad = ready("a");
    bad.problems.push("\u{1b}[2Jx".into());
    let model = model(vec![bad], &[]);
    assert!(drawn(&model, 80, 24).iter().all(|line| !line.contains('\u{1b}')));
}
