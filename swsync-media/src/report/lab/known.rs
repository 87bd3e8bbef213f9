//! What the report knows of the experiments of `swsync lab`: what they are, and what the paper has in their place.

use super::super::html::{Html, paragraph, table};

/// An experiment.
pub struct Known {
    /// What it is called on the page.
    pub title: &'static str,
    /// What was done.
    pub about: &'static str,
    /// The paper's figures.
    paper: Option<Paper>,
}

/// A table of the paper.
struct Paper {
    heading: &'static str,
    columns: &'static [&'static str],
    rows: &'static [&'static [&'static str]],
}

/// The experiment `lab`. `None`: this version of swsync does not know it.
pub fn of(lab: &str) -> Option<Known> {
    Some(match lab {
        "table1" => Known {
            title: "Naive triggers and swsync",
            about: "Devices that a wire, Bluetooth or WiFi triggers, as the paper models them, and devices that swsync synchronizes: how \
                    far two pictures of one order are apart.",
            paper: Some(Paper {
                heading: "The paper's Table I",
                columns: &["method", "max", "mean abs"],
                rows: &[
                    &["naive wired", "180 ms", "103 ms"],
                    &["naive Bluetooth", "200 ms", "69 ms"],
                    &["naive WiFi", "677 ms", "123 ms"],
                    &["the paper's method", "0.121 ms", "0.032 ms"],
                ],
            }),
        },
        "table2" => Known {
            title: "Errors of two devices that start from nothing",
            about: "In each trial two simulated devices start, find rig time, bring their cameras onto the frame grid, and take a picture of \
                    one number: at once, and once they have settled. The histograms are those of the paper's Fig. 6.",
            paper: Some(Paper {
                heading: "The paper's Table II: 239 trials with two phones, read from pictures of an LED panel",
                columns: &["error", "max", "mean abs", "stdev"],
                rows: &[
                    &["clock", "\u{2264} 121 us", "\u{2264} 32 us", "\u{2264} 25 us"],
                    &["phase", "21 us", "7 us", "5 us"],
                    &["total", "121 us", "32 us", "25 us"],
                ],
            }),
        },
        "table3" => Known {
            title: "Messages between two devices, and filters of the clock",
            about: "A client asks its leader for the time again and again over a simulated WiFi link, whose true delays are known here. \
                    Filters estimate the clock's offset from these messages.",
            paper: Some(Paper {
                heading: "The paper's Table III: 10 000 messages between two phones",
                columns: &["", "mean", "min"],
                rows: &[
                    &["leader to client", "1133 us", "517 us"],
                    &["client to leader", "1878 us", "479 us"],
                    &["round trip", "3012 us", "996 us"],
                    &["bias of the offset", "372 us", "19 us"],
                ],
            }),
        },
        "fig-phase" => Known {
            title: "Bringing a camera onto the frame grid",
            about: "How many injected frames, or restarts of the camera, it takes until its frames lie on the grid, and how long that takes.",
            paper: None,
        },
        "steady" => Known {
            title: "A rig over an hour",
            about: "Simulated rigs take a still every minute. The error of each client's picture against the leader's is read from the \
                    pictures: in the first ten seconds, and once the rig has settled.",
            paper: Some(Paper {
                heading: "The paper's total error, of two phones",
                columns: &["max", "mean abs", "stdev"],
                rows: &[&["121 us", "32 us", "25 us"]],
            }),
        },
        "soak" => Known {
            title: "A rig over days",
            about: "Simulated clocks that drift as the temperature of a day does, over days: the error of each device against the leader.",
            paper: None,
        },
        _ => return None,
    })
}

impl Known {
    /// The paper's figures, to compare with.
    pub fn paper(&self) -> Html {
        let Some(Paper { heading, columns, rows }) = &self.paper else { return Html::new() };
        let mut html = paragraph(format!("{heading}:"));
        html.push(table(columns, rows.iter().map(|row| row.iter().map(Html::text).collect())));
        html
    }
}
