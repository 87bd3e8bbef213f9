//! What may be shown of addresses: they can carry passwords and tokens.

/// What ends a URI in a text.
fn ends_uri(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

/// `text`, with user name, password, query and fragment of every URI in it removed: `rtsp://me:secret@host/x?token=y` becomes
/// `rtsp://host/x`.
///
/// If it is not clear where the password ends (`@` behind the first `/`), nothing but the scheme stays.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, uri) = rest.split_at(at + 3);
        shown.push_str(before);
        let (uri, after) = uri.split_at(uri.find(ends_uri).unwrap_or(uri.len()));
        shown.push_str(shown_of_uri(uri));
        rest = after;
    }
    shown + rest
}

/// What may be shown of a URI without its scheme.
fn shown_of_uri(uri: &str) -> &str {
    let authority = uri.find(['/', '?', '#']).unwrap_or(uri.len());
    match uri.rfind('@') {
        Some(at) if at >= authority => "...",
        at => {
            let visible = &uri[at.map_or(0, |at| at + 1)..];
            let visible = &visible[..visible.find(['?', '#']).unwrap_or(visible.len())];
            visible.trim_end_matches('\\') // of an escaped `?`, in a serialized GstStructure
        }
    }
}

/// A Zenoh endpoint, `tcp/HOST:PORT`, without user name, password, metadata (`?`) and configuration (`#`), which can hold keys.
#[must_use]
pub fn endpoint_without_secrets(endpoint: &str) -> String {
    let (protocol, address) = endpoint.split_once('/').unwrap_or(("", endpoint));
    let address = &address[..address.find(['?', '#']).unwrap_or(address.len())];
    let address = address.rfind('@').map_or(address, |at| &address[at + 1..]);
    if protocol.is_empty() { address.to_owned() } else { format!("{protocol}/{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_lose_what_may_be_secret() {
        for (text, shown) in [
            ("rtsp://me:s3@host:554/x?token=s3", "rtsp://host:554/x"),
            ("rtsp://me@host/x#s3", "rtsp://host/x"),
            ("srt://host:1?passphrase=s3&mode=caller", "srt://host:1"),
            (
                "rtspsrc location=rtsp://me:s3@host/x ! tee ! filesink location=/a/b",
                "rtspsrc location=rtsp://host/x ! tee ! filesink location=/a/b",
            ),
            ("a=\"http://h/p?s3\",b=https://u:s3@h2/,c", "a=\"http://h/p\",b=https://h2/,c"),
            ("rtsp://me:s3@other@host/x", "rtsp://host/x"),
            ("rtsp://me:s3/rest@host/x", "rtsp://..."),
            ("rtsp://me:s3?rest@host/x", "rtsp://..."),
            ("http://h/@user", "http://..."),
            (r"(string)rtsp://me:s3\@h/x\?token\=s3\ !", r"(string)rtsp://h/x !"),
            ("http://u:s3@a http://u:s3@b", "http://a http://b"),
            ("video/x-raw, width=(int)64", "video/x-raw, width=(int)64"),
            ("://", "://"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), shown, "{text}");
            assert!(!shown.contains("s3"));
        }
    }

    #[test]
    fn endpoints_lose_what_may_be_secret() {
        for (endpoint, shown) in [
            ("tcp/pi0:7447", "tcp/pi0:7447"),
            ("tcp/[::1]:7447?rel=1#iface=eth0", "tcp/[::1]:7447"),
            ("tls/me:s3@pi0:1#key=a@s3", "tls/pi0:1"),
            ("pi0:1?s3", "pi0:1"),
        ] {
            assert_eq!(endpoint_without_secrets(endpoint), shown, "{endpoint}");
            assert!(!shown.contains("s3"));
        }
    }
}
