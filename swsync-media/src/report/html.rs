//! HTML that cannot be broken by what it shows: text gets in through [`Html::text`] only, which escapes it.

use std::fmt::{Display, Write as _};

/// A piece of HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Nothing.
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// `text`, escaped. Control characters, and those that change the direction of text, become U+FFFD.
    pub fn text(text: impl Display) -> Self {
        let mut html = String::new();
        for c in text.to_string().chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                '\n' | '\t' => html.push(c),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => html.push('\u{fffd}'),
                c if c.is_control() => html.push('\u{fffd}'),
                c => html.push(c),
            }
        }
        Self(html)
    }

    /// HTML that is written in this program.
    pub fn literal(html: &'static str) -> Self {
        Self(html.to_owned())
    }

    /// An SVG picture that plotters made, which escapes the texts in it. `about` is read out in its place.
    pub fn svg(svg: &str, about: &str) -> Self {
        let label = Self::text(about);
        // Within a page it needs no name space.
        let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        Self(svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", label.0), 1))
    }

    /// The element `tag` with `attributes` and `content`.
    pub fn element(tag: &'static str, attributes: &[(&'static str, &str)], content: Self) -> Self {
        let mut html = Self::open(tag, attributes);
        let _ = write!(html.0, "{}</{tag}>", content.0); // writing to a string cannot fail
        html
    }

    /// An element that has no content, such as `img`.
    pub fn open(tag: &'static str, attributes: &[(&'static str, &str)]) -> Self {
        let mut html = format!("<{tag}");
        for (name, value) in attributes {
            let _ = write!(html, " {name}=\"{}\"", Self::text(value).0); // writing to a string cannot fail
        }
        html.push('>');
        Self(html)
    }

    /// The element `tag` without attributes, with `text`.
    pub fn tagged(tag: &'static str, text: impl Display) -> Self {
        Self::element(tag, &[], Self::text(text))
    }

    /// Adds `html` behind this.
    pub fn push(&mut self, html: Self) {
        self.0.push_str(&html.0);
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromIterator<Self> for Html {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        let mut all = Self::new();
        parts.into_iter().for_each(|part| all.push(part));
        all
    }
}

/// A table with `headings`. Cells that begin with a digit or a sign are numbers, and aligned to the right.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<Html>>) -> Html {
    any_table(headings, rows, |cell| {
        let digits = cell.as_str().trim_start_matches(['+', '-', '\u{2212}', '\u{2264}', ' ']);
        digits.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// A table with `headings`, whose cells are words.
pub fn table_of_words(headings: &[&str], rows: impl IntoIterator<Item = Vec<Html>>) -> Html {
    any_table(headings, rows, |_| false)
}

fn any_table(
    headings: &[&str],
    rows: impl IntoIterator<Item = Vec<Html>>,
    is_number: impl Fn(&Html) -> bool,
) -> Html {
    let cell = |cell: Html| {
        let class: &[(&'static str, &str)] = if is_number(&cell) { &[("class", "number")] } else { &[] };
        Html::element("td", class, cell)
    };
    let heading = |text: &&str| Html::element("th", &[("scope", "col")], Html::text(text));
    let head: Html = headings.iter().map(heading).collect();
    let rows: Html =
        rows.into_iter().map(|row| Html::element("tr", &[], row.into_iter().map(&cell).collect())).collect();
    let mut table = Html::element("thead", &[], Html::element("tr", &[], head));
    table.push(Html::element("tbody", &[], rows));
    Html::element("div", &[("class", "scroll")], Html::element("table", &[], table))
}

/// A section with a heading. `id` is its address within the page.
pub fn section(id: &'static str, heading: &str, content: Html) -> Html {
    let mut all = Html::tagged("h2", heading);
    all.push(content);
    Html::element("section", &[("id", id)], all)
}

/// A paragraph.
pub fn paragraph(text: impl Display) -> Html {
    Html::tagged("p", text)
}

/// A paragraph on what is missing or wrong.
pub fn note(text: impl Display) -> Html {
    Html::element("p", &[("class", "note")], Html::text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let evil = "<script>alert('x')</script>&\"\u{1b}[0m\u{202e}";
        let html = Html::element("td", &[("title", evil)], Html::text(evil));
        let text = html.as_str();
        assert_eq!(text.matches('<').count(), 2, "{text}");
        assert_eq!(text.matches('"').count(), 2, "{text}");
        assert!(!text.contains('\'') && !text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"), "{text}");
    }

    #[test]
    fn numbers_are_told_from_words() {
        let html = table(&["a", "b"], [vec![Html::text("x<y"), Html::text("-1.5")]]);
        assert!(html.as_str().contains("<td>x&lt;y</td><td class=\"number\">-1.5</td>"), "{html:?}");
    }
}
