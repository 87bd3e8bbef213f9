//! The page around a report: head, styles, script and foot.

use gst::glib;

use super::html::{Html, paragraph};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A page, before it is put together.
pub struct Page {
    /// The heading, and the title of the window.
    pub title: String,
    /// A line right below the heading: a person's note.
    pub note: Option<String>,
    /// A sentence below the heading.
    pub subtitle: String,
    /// The sections' addresses and names, for the list of contents.
    pub contents: Vec<(&'static str, &'static str)>,
    /// All between the list of contents and the foot.
    pub body: Html,
    /// The files that the page was made from, and what was not there.
    pub sources: Vec<String>,
    /// The command that made it.
    pub command: String,
    /// When, in UTC.
    pub made: String,
}

impl Page {
    /// The whole page. It loads nothing, and nothing but its own script can run in it.
    pub fn to_html(&self) -> String {
        let policy = format!(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'",
            sha256_base64(SCRIPT)
        );
        let head: Html = [
            Html::literal("<meta charset=\"utf-8\">"),
            Html::open("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]),
            Html::literal("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"),
            Html::literal("<link rel=\"icon\" href=\"data:,\">"),
            Html::tagged("title", &self.title),
            Html::element("style", &[], Html::literal(STYLE)),
        ]
        .into_iter()
        .collect();
        let links = self
            .contents
            .iter()
            .map(|(id, name)| Html::element("a", &[("href", &format!("#{id}"))], Html::text(name)));
        let body: Html = [
            Html::tagged("h1", &self.title),
            self.note.iter().map(paragraph).collect(),
            Html::element("p", &[("class", "quiet")], Html::text(&self.subtitle)),
            Html::element("nav", &[], links.collect()),
            self.body.clone(),
            self.foot(),
            Html::element("script", &[], Html::literal(SCRIPT)),
        ]
        .into_iter()
        .collect();
        let html: Html =
            [Html::element("head", &[], head), Html::element("body", &[], body)].into_iter().collect();
        format!("<!doctype html>\n{}\n", Html::element("html", &[("lang", "en")], html).as_str())
    }

    fn foot(&self) -> Html {
        let mut foot = Html::literal("<h2 id=\"sources\">How this page was made</h2>");
        let version = env!("CARGO_PKG_VERSION");
        foot.push(Html::tagged("p", format!("swsync {version}, {}, with this command:", self.made)));
        foot.push(Html::element("p", &[], Html::tagged("code", &self.command)));
        foot.push(Html::tagged("p", "From these files:"));
        let sources =
            self.sources.iter().map(|source| Html::element("li", &[], Html::tagged("code", source)));
        foot.push(Html::element("ul", &[], sources.collect()));
        Html::element("footer", &[], foot)
    }
}

/// The SHA-256 of `text` in Base64, as a content security policy names scripts.
fn sha256_base64(text: &str) -> String {
    let mut sum = glib::Checksum::new(glib::ChecksumType::Sha256).expect("GLib has SHA-256");
    sum.update(text.as_bytes());
    glib::base64_encode(&sum.digest()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_script_by_its_sum() {
        // By `printf abc | openssl dgst -sha256 -binary | base64`.
        assert_eq!(sha256_base64("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn a_page_refers_to_nothing_outside() {
        let page = Page {
            title: "<script>".into(),
            note: Some("<b>".into()),
            subtitle: String::new(),
            contents: Vec::new(),
            body: Html::new(),
            sources: vec!["</code><img src=x>".into()],
            command: "swsync report a&b".into(),
            made: String::new(),
        };
        let html = page.to_html();
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("<img"), "{html}");
        assert_eq!(html.matches("<script>").count(), 1);
        assert!(html.contains("<title>&lt;script&gt;</title>") && html.contains("a&amp;b"));
        assert!(html.contains("</h1><p>&lt;b&gt;</p>"), "{html}");
    }
}
