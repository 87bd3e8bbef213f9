//! Serves one page by HTTP/1.1: the panel, or metrics. Nothing can be changed by it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest head of a request. Browsers send less than 2 kB.
const LONGEST: usize = 8192;
/// A client has so long for its request, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that are served at once; further ones are turned away.
const CLIENTS: usize = 32;

/// What is served.
pub struct Page<B> {
    /// Where: `/`, `/metrics`.
    pub path: &'static str,
    /// What it is, for those who ask for another path.
    pub name: &'static str,
    /// Makes it, for a request with this head: its media type, and its bytes.
    pub body: B,
}

/// Serves `page` for ever.
pub fn serve<B>(listener: &TcpListener, page: Page<B>) -> !
where
    B: Fn(&RequestHead) -> (&'static str, Arc<[u8]>) + Send + Sync + 'static,
{
    let (page, clients) = (Arc::new(page), Arc::new(AtomicUsize::new(0)));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Out of file descriptors, most likely: some will be free again.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (page, clients) = (page.clone(), clients.clone());
        // Ends by itself: every read and write has a limit.
        std::thread::spawn(move || {
            // A client that goes away is no concern of the others.
            let _ = answer(stream, &page);
            clients.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn answer<B: Fn(&RequestHead) -> (&'static str, Arc<[u8]>)>(
    mut stream: TcpStream,
    page: &Page<B>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = RequestHead(read_head(&mut stream)?);
    let text = |text: String| ("text/plain", text.into_bytes().into());
    let (status, (kind, body)): (_, (_, Arc<[u8]>)) = match head.status(page.path) {
        200 => ("200 OK", (page.body)(&head)),
        404 => ("404 Not Found", text(format!("{} at {}\n", page.name, page.path))),
        405 => ("405 Method Not Allowed", text("only GET\n".into())),
        _ => ("400 Bad Request", text("this is no HTTP\n".into())),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    stream.flush()
}

/// The head of a request, up to the empty line.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut some) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < LONGEST {
        match stream.read(&mut some)? {
            0 => break,
            count => head.extend_from_slice(&some[..count]),
        }
    }
    Ok(head)
}

/// The request line and the header fields of a request, as they came.
pub struct RequestHead(Vec<u8>);

impl RequestHead {
    /// The status code that the request gets where the page is at `path`.
    fn status(&self, path: &str) -> u16 {
        let line = self.0.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(method), Some(asked), Some(version)) if version.starts_with(b"HTTP/1.") => {
                let asked = asked.split(|byte| *byte == b'?').next().unwrap_or_default();
                match method {
                    b"GET" if asked == path.as_bytes() => 200,
                    b"GET" => 404,
                    _ => 405,
                }
            }
            _ => 400,
        }
    }

    /// Whether the client takes this media type, by its field `Accept`.
    pub fn accepts(&self, media_type: &str) -> bool {
        let head = String::from_utf8_lossy(&self.0).to_ascii_lowercase();
        let accept = head.lines().filter_map(|line| line.strip_prefix("accept:"));
        accept
            .flat_map(|types| types.split(','))
            .any(|one| one.split(';').next().is_some_and(|one| one.trim() == media_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> RequestHead {
        RequestHead(text.as_bytes().to_vec())
    }

    #[test]
    fn only_the_page_is_there() {
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
            ("GET /?a HTTP/1.0\r\n\r\n", 200),
            ("GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("GET /", 400),
            ("\u{16}\u{3}\u{1}", 400),
            ("", 400),
        ] {
            assert_eq!(head(request).status("/"), expected, "{request:?}");
        }
        assert_eq!(head("GET /metrics HTTP/1.1\r\n\r\n").status("/metrics"), 200);
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n").status("/metrics"), 404);
    }

    #[test]
    fn the_media_types_that_a_client_takes_are_known() {
        let prometheus = head(
            "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.6, text/plain;q=0.5\r\n\r\n",
        );
        assert!(prometheus.accepts("application/openmetrics-text") && prometheus.accepts("text/plain"));
        assert!(!head("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n").accepts("application/openmetrics-text"));
    }

    #[test]
    fn several_clients_are_served_and_an_idle_one_does_not_hinder_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let body = |_: &RequestHead| ("text/html", Arc::from(&b"<p>page"[..]));
        std::thread::spawn(move || serve(&listener, Page { path: "/", name: "the panel is", body }));
        let _idle = TcpStream::connect(address).unwrap();
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: panel\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        for _ in 0..3 {
            let text = ask("/");
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n<p>page"), "{text}");
        }
        assert!(ask("/x").ends_with("\r\n\r\nthe panel is at /\n"));
    }
}
