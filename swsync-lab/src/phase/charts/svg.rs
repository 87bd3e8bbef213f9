//! A small chart library that writes SVG.
//!
//! Charts have a background, so that they are readable on light and dark pages.

use std::fmt::Write as _;

/// Colours that can be told apart with any colour vision (Okabe and Ito), dark enough for thin lines.
pub const BLUE: &str = "#0072b2";
pub const ORANGE: &str = "#d55e00";
pub const GREEN: &str = "#008f63";
pub const PURPLE: &str = "#a0487f";
pub const GREY: &str = "#777777";
const INK: &str = "#222222";
const PALE: &str = "#dddddd";
const GROUND: &str = "#ffffff";

/// The scale of an axis.
#[derive(Debug, Clone, Copy)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Linear around 0 up to about this number, logarithmic beyond it, for both signs.
    Bilog(f64),
    /// Logarithmic.
    Log,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Quantity and unit.
    pub title: &'static str,
    /// First and last number.
    pub range: (f64, f64),
    /// Its scale.
    pub scale: Scale,
    /// Numbers that are marked, and their labels.
    pub ticks: Vec<(f64, String)>,
}

/// The shape of a series.
#[derive(Debug, Clone)]
pub enum Mark {
    /// A line through points.
    Line(Vec<(f64, f64)>),
    /// Dots.
    Dots(Vec<(f64, f64)>),
    /// Bars from 0 to each point.
    Bars(Vec<(f64, f64)>),
    /// The area between two values.
    Band(f64, f64),
    /// An arrow from one point to another.
    Arrow((f64, f64), (f64, f64)),
}

/// A series of data. `name` is for the legend.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: Option<&'static str>,
    pub colour: &'static str,
    pub mark: Mark,
}

/// A chart with two axes.
#[derive(Debug, Clone)]
pub struct Panel {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Height, in px.
    pub height: f64,
    /// Whether it has a legend.
    pub legend: bool,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 18.0;
const ABOVE: f64 = 34.0;
const BELOW: f64 = 52.0;
const LEGEND: f64 = 22.0;

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Bilog(around) => (value / around).asinh(),
            Self::Log => value.max(f64::MIN_POSITIVE).log10(),
        }
    }
}

impl Axis {
    /// A linear axis with a tick every `step`.
    pub fn linear(title: &'static str, (from, to): (f64, f64), step: f64) -> Self {
        let mut ticks = Vec::new();
        let mut at = (from / step).ceil() * step;
        while at <= to + step * 1e-9 {
            let text = if step >= 1.0 { format!("{at:.0}") } else { format!("{at:.1}") };
            ticks.push((at, if text == "-0" { "0".to_owned() } else { text }));
            at += step;
        }
        Self { title, range: (from, to), scale: Scale::Linear, ticks }
    }

    /// The position of `value` as a fraction of the axis, clamped to its ends.
    fn share(&self, value: f64) -> f64 {
        let (from, to) = (self.scale.place(self.range.0), self.scale.place(self.range.1));
        ((self.scale.place(value) - from) / (to - from)).clamp(0.0, 1.0)
    }
}

/// The SVG of `panels`, one below the other.
pub fn figure(title: &str, panels: &[Panel]) -> String {
    let tall = |panel: &Panel| ABOVE + panel.height + BELOW + if panel.legend { LEGEND } else { 0.0 };
    let height: f64 = 30.0 + panels.iter().map(tall).sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" font-size=\"12\" \
         fill=\"{INK}\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0,0L8,4L0,8z\" fill=\"{GREY}\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{GROUND}\"/>\n"
    );
    text(&mut svg, (WIDTH / 2.0, 22.0), "middle", 15, &escape(title));
    let mut top = 30.0;
    for panel in panels {
        panel.draw(&mut svg, top + ABOVE);
        top += tall(panel);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn at(&self, top: f64, (x, y): (f64, f64)) -> (f64, f64) {
        let wide = WIDTH - LEFT - RIGHT;
        (LEFT + wide * self.x.share(x), top + self.height * (1.0 - self.y.share(y)))
    }

    fn draw(&self, svg: &mut String, top: f64) {
        let (wide, bottom) = (WIDTH - LEFT - RIGHT, top + self.height);
        text(svg, (LEFT, top - 8.0), "start", 13, &escape(&self.title));
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at(top, (self.x.range.0, *value));
            line(svg, (LEFT, y), (WIDTH - RIGHT, y), PALE);
            text(svg, (LEFT - 7.0, y + 4.0), "end", 12, label);
        }
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at(top, (*value, self.y.range.0));
            line(svg, (x, bottom), (x, bottom + 5.0), INK);
            text(svg, (x, bottom + 19.0), "middle", 12, label);
        }
        for series in &self.series {
            self.series(svg, top, series);
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"{INK}\"/>",
            self.height
        );
        text(svg, (LEFT + wide / 2.0, bottom + 38.0), "middle", 12, &escape(self.x.title));
        let (x, y) = (18.0, top + self.height / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 {x} {y:.1})\">{}</text>",
            escape(self.y.title)
        );
        if self.legend {
            let mut x = LEFT;
            for series in &self.series {
                let Some(name) = series.name else { continue };
                let y = bottom + 52.0;
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"18\" height=\"5\" fill=\"{}\"/>",
                    y + 4.0,
                    series.colour
                );
                text(svg, (x + 24.0, y + 11.0), "start", 12, &escape(name));
                x += 48.0 + 7.2 * f64::from(u32::try_from(name.len()).unwrap_or(20));
            }
        }
    }

    fn series(&self, svg: &mut String, top: f64, series: &Series) {
        let colour = series.colour;
        // Writing to a string cannot fail.
        let _ = match &series.mark {
            Mark::Line(points) => {
                let path: Vec<String> = points
                    .iter()
                    .map(|point| self.at(top, *point))
                    .map(|(x, y)| format!("{x:.1},{y:.1}"))
                    .collect();
                writeln!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" \
                     stroke-linejoin=\"round\"/>",
                    path.join(" ")
                )
            }
            Mark::Dots(points) => points.iter().try_for_each(|point| {
                let (x, y) = self.at(top, *point);
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.8\" fill=\"{colour}\"/>")
            }),
            Mark::Bars(points) => points.iter().try_for_each(|point| {
                let ((x, y), (_, zero)) = (self.at(top, *point), self.at(top, (point.0, 0.0)));
                let (from, tall) = (y.min(zero), (y - zero).abs().max(1.5));
                writeln!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{from:.1}\" width=\"12\" height=\"{tall:.1}\" fill=\"{colour}\"/>",
                    x - 6.0
                )
            }),
            Mark::Band(low, high) => {
                let ((_, y), (_, bottom)) =
                    (self.at(top, (self.x.range.0, *high)), self.at(top, (self.x.range.0, *low)));
                writeln!(
                    svg,
                    "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\" \
                     fill-opacity=\"0.15\"/>",
                    WIDTH - LEFT - RIGHT,
                    bottom - y
                )
            }
            Mark::Arrow(from, to) => {
                let ((x, y), (u, v)) = (self.at(top, *from), self.at(top, *to));
                writeln!(
                    svg,
                    "<path d=\"M{x:.1},{y:.1}L{u:.1},{v:.1}\" stroke=\"{colour}\" stroke-width=\"1.2\" fill=\"none\" \
                     marker-end=\"url(#tip)\"/>"
                )
            }
        };
    }
}

fn line(svg: &mut String, (x, y): (f64, f64), (u, v): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{u:.1}\" y2=\"{v:.1}\" stroke=\"{colour}\" stroke-width=\"1\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{words}</text>"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(mark: Mark) -> Panel {
        let axis = || Axis::linear("t & <us>", (-1.0, 1.0), 0.5);
        Panel {
            title: "p".into(),
            x: axis(),
            y: Axis { scale: Scale::Bilog(0.1), ..axis() },
            series: vec![Series { name: Some("n"), colour: BLUE, mark }],
            height: 100.0,
            legend: true,
        }
    }

    #[test]
    fn numbers_have_their_places() {
        let axis = Axis::linear("x", (0.0, 10.0), 2.5);
        assert_eq!(axis.ticks.len(), 5);
        assert!((axis.share(5.0) - 0.5).abs() < 1e-9 && (axis.share(99.0) - 1.0).abs() < 1e-9);
        let log = Axis { scale: Scale::Log, range: (1.0, 1_000.0), ..axis };
        assert!((log.share(10.0) - 1.0 / 3.0).abs() < 1e-9);
        let centre = panel(Mark::Band(0.0, 1.0)).at(0.0, (0.0, 0.0));
        assert!((centre.0 - (LEFT + WIDTH - RIGHT) / 2.0).abs() < 1e-9 && (centre.1 - 50.0).abs() < 1e-9);
    }

    #[test]
    fn every_mark_is_drawn_and_every_tag_closed() {
        let at = (0.0, 0.5);
        for mark in [
            Mark::Line(vec![at, (1.0, 1.0)]),
            Mark::Dots(vec![at]),
            Mark::Bars(vec![at]),
            Mark::Band(-0.1, 0.1),
            Mark::Arrow(at, (1.0, 0.0)),
        ] {
            let svg = figure("a & b", &[panel(mark)]);
            assert!(
                svg.contains("a &amp; b") && svg.contains("t &amp; &lt;us&gt;") && svg.ends_with("</svg>\n")
            );
            assert_eq!(svg.matches('<').count(), svg.matches('>').count());
            assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
