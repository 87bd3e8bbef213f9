//! `swsync panel`: a page that makes a panel of a screen, and what a screen can prove.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use swsync_core::panel::{CODE_PERIODS, Panel, code_bit};
use swsync_core::time::Span;

use crate::exit;
use crate::http;
use crate::output;

/// How long a column of the fast array is shown, in refreshes of the screen: then two of three pictures with a short exposure see no
/// change of the picture at all.
const REFRESHES: u32 = 3;
/// What the pixels of an LCD need to change: usual monitors and televisions, from grey to grey. An assumption; an OLED needs less
/// than a millisecond.
const RESPONSE: Span = Span::from_millis(10);
/// Dark space around the panel, in pitches of its LEDs.
const MARGIN: f64 = 1.5;

/// Show a panel on a phone or TV, for `swsync measure`; or say what a screen can prove.
///
/// A screen is a poor panel: it draws its picture row after row, once per refresh. With it, errors of whole frames are found, and not
/// microseconds. For those it takes LEDs: examples/pico.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PanelArgs {
    /// Serve the page; without this, only say what a screen can prove
    #[arg(long)]
    serve: bool,
    /// Where; 0.0.0.0:8090 lets phones and TVs of the network open it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090", requires = "serve")]
    listen: SocketAddr,
    /// Refreshes of the screen per second, to say what it can prove
    #[arg(long, value_name = "HZ", default_value_t = 60.0, value_parser = refresh_rate)]
    hz: f64,
    /// The error that is to be proven
    #[arg(long, value_name = "TIME", default_value = "250us")]
    max_error: humantime::Duration,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The document of `swsync panel --json`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum PanelDocument {
    /// What a screen can prove.
    Screen {
        /// Refreshes per second.
        hz: f64,
        /// The least error that the screen can prove.
        floor_ns: Span,
        /// The error that is to be proven.
        max_error_ns: Span,
        /// Whether the screen can prove it.
        proves: bool,
    },
    /// With `--serve`: where the page is, until the command ends.
    Served {
        /// Its address.
        url: String,
    },
}

const AFTER_HELP: &str = "\
Examples:
  swsync panel --hz 120                        # can such a screen prove 250 us?
  swsync panel --serve --listen 0.0.0.0:8090   # then open http://THIS-HOST:8090 on the phone or TV

docs/measure.md says how to photograph it.

Exit codes:
  0  the screen can prove it; with --serve: never, as it runs until Ctrl-C
  1  the page cannot be served
  2  wrong arguments
  6  the screen cannot prove it";

/// Reads the refreshes per second of a screen.
///
/// # Errors
/// What is wrong with the text, for the user.
pub fn refresh_rate(text: &str) -> Result<f64, String> {
    let hz: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (1.0..=100_000.0).contains(&hz) { Ok(hz) } else { Err("it has to be 1 to 100000".into()) }
}

/// The least error that a screen with so many refreshes a second can prove: it needs a refresh to draw a picture from top to bottom,
/// and its pixels their time to follow.
#[must_use]
pub fn floor(hz: f64) -> Span {
    Span::from_nanos_f64(1e9 / hz) + RESPONSE
}

/// Runs the command.
///
/// # Errors
/// The page cannot be served.
pub fn run(args: &PanelArgs) -> anyhow::Result<ExitCode> {
    if args.serve {
        let listener =
            TcpListener::bind(args.listen).with_context(|| format!("cannot listen at {}", args.listen))?;
        let address = listener.local_addr().context("cannot learn the port")?;
        let url = format!("http://{address}/");
        if args.json {
            output::json(&PanelDocument::Served { url });
        } else {
            output::line(&format!("The panel is at {url} until Ctrl-C"));
        }
        std::io::stdout().flush().context("standard output")?;
        let html: Arc<[u8]> = page().into_bytes().into();
        let body = move |_: &http::RequestHead| ("text/html; charset=utf-8", Arc::clone(&html));
        http::serve(&listener, http::Page { path: "/", name: "the panel is", body });
    }
    let (floor, wanted) = (floor(args.hz), Span::from(*args.max_error));
    let proves = floor <= wanted;
    if args.json {
        let (hz, floor_ns, max_error_ns) = (args.hz, floor, wanted);
        output::json(&PanelDocument::Screen { hz, floor_ns, max_error_ns, proves });
    } else {
        output::line(&verdict(args.hz, wanted));
    }
    Ok(if proves { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_PROVEN) })
}

/// What a screen can prove, in words.
fn verdict(hz: f64, wanted: Span) -> String {
    let floor = floor(hz);
    let millis = |span: Span| format!("{:.2} ms", span.as_secs_f64() * 1e3);
    let conclusion = if floor <= wanted {
        format!("That is enough for {}.", millis(wanted))
    } else {
        format!(
            "It cannot prove {}: use LEDs (examples/pico), or the border between black and white (docs/hardware.md, step 5).",
            millis(wanted)
        )
    };
    format!(
        "A screen of {hz} Hz draws a picture in {}, row after row, and an LCD's pixels need up to {} more: no picture of it proves \
         an error below {}. {conclusion}",
        millis(Span::from_nanos_f64(1e9 / hz)),
        millis(RESPONSE),
        millis(floor),
    )
}

/// The page, with the panel's geometry as `swsync measure` knows it.
fn page() -> String {
    let Panel { slow_y, corners, orientation, code, .. } = Panel::PAPER;
    let markers: Vec<_> = corners.into_iter().chain([orientation]).collect();
    let bound = |of: fn(&(f64, f64)) -> f64, pick: fn(f64, f64) -> f64| {
        markers.iter().map(of).reduce(pick).expect("there are markers")
    };
    let (left, top) = (bound(|it| it.0, f64::min) - MARGIN, bound(|it| it.1, f64::min) - MARGIN);
    let (right, bottom) = (bound(|it| it.0, f64::max) + MARGIN, bound(|it| it.1, f64::max) + MARGIN);
    let panel = json!({
        "code": code, "bits": (0..CODE_PERIODS).map(code_bit).collect::<Vec<_>>(), "slow_y": slow_y, "markers": markers, "left": left, "top": top, "width": right - left, "height": bottom - top,
        "refreshes": REFRESHES, "response_ms": RESPONSE.as_secs_f64() * 1e3,
    });
    include_str!("page.html").replace("/*PANEL*/", &panel.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_of_60_hz_cannot_prove_what_swsync_promises() {
        let text = verdict(60.0, Span::from_micros(250));
        assert!(text.contains("16.67 ms") && text.contains("below 26.67 ms"), "{text}");
        assert!(text.contains("cannot prove 0.25 ms") && text.contains("use LEDs"), "{text}");
        assert!(verdict(240.0, Span::from_millis(15)).contains("enough for 15.00 ms"));
        assert!(refresh_rate("0").is_err() && refresh_rate("x").is_err() && refresh_rate("59.94").is_ok());
    }

    #[test]
    fn the_page_has_the_panel_that_is_read() {
        let page = page();
        let (_, rest) = page.split_once("const PANEL = ").unwrap();
        let (panel, _) = rest.split_once(";\n").unwrap();
        let panel: serde_json::Value = serde_json::from_str(panel).unwrap();
        assert_eq!(panel["slow_y"], Panel::PAPER.slow_y);
        assert_eq!(panel["markers"][4], json!([Panel::PAPER.orientation.0, Panel::PAPER.orientation.1]));
        assert_eq!((&panel["left"], &panel["height"]), (&json!(-3.0), &json!(18.0)));
        for outside in ["http:", "https:", "src=", "href=", "@import"] {
            assert!(!page.contains(outside), "the page needs nothing else: {outside}");
        }
    }
}
