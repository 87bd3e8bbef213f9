//! The page's files, which are part of the program.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use crate::failure::Failure;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, media type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../web/index.html")),
    ("/style.css", CSS, include_str!("../web/style.css")),
    ("/main.js", JS, include_str!("../web/main.js")),
    ("/rig.js", JS, include_str!("../web/rig.js")),
    ("/text.js", JS, include_str!("../web/text.js")),
    ("/date.js", JS, include_str!("../web/date.js")),
    ("/devices.js", JS, include_str!("../web/devices.js")),
    ("/shutter.js", JS, include_str!("../web/shutter.js")),
    ("/results.js", JS, include_str!("../web/results.js")),
    ("/plots.js", JS, include_str!("../web/plots.js")),
    ("/wedge.js", JS, include_str!("../web/wedge.js")),
    ("/settings.js", JS, include_str!("../web/settings.js")),
    ("/thumbnails.js", JS, include_str!("../web/thumbnails.js")),
    ("/takes.js", JS, include_str!("../web/takes.js")),
    ("/icon.svg", SVG, include_str!("../web/icon.svg")),
];

/// What changes with the files: 64 bit of FNV-1a.
fn tag(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("\"{hash:016x}\"")
}

/// A file of the page.
pub async fn page(uri: Uri, headers: HeaderMap) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(path, ..)| *path == uri.path()) else {
        return Failure::not_found(
            format!("there is nothing at {}", uri.path()),
            "the page is at /, and /api/v1/openapi.json describes the API",
        )
        .into_response();
    };
    let tag = tag(text);
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    ([(CONTENT_TYPE, (*kind).to_owned()), (CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag)], *text)
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (path, _, text) in FILES {
            let without = text.replace("http://www.w3.org/", "");
            assert!(!without.contains("http://") && !without.contains("https://"), "{path}");
            assert!(
                !text.contains("<script>") && !text.contains(" style=\""),
                "{path}: inline, which the policy forbids"
            );
        }
    }

    #[test]
    fn the_page_names_only_files_that_are_there() {
        let html = FILES[0].2;
        for part in html.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
            assert!(FILES.iter().any(|(path, ..)| *path == part), "{part}");
        }
    }
}
