//! Serves one page by HTTP/1.1. Nothing of it is secret, and nothing can be changed by it.

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

/// Serves `page` for ever.
pub fn serve(listener: &TcpListener, page: &[u8]) -> ! {
    let (page, clients): (Arc<[u8]>, _) = (page.into(), Arc::new(AtomicUsize::new(0)));
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

fn answer(mut stream: TcpStream, page: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream)?;
    let (status, kind, body): (_, _, &[u8]) = match status(&head) {
        200 => ("200 OK", "text/html; charset=utf-8", page),
        404 => ("404 Not Found", "text/plain", b"the panel is at /\n"),
        405 => ("405 Method Not Allowed", "text/plain", b"only GET\n"),
        _ => ("400 Bad Request", "text/plain", b"this is no HTTP\n"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
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

/// The status code that a request gets.
fn status(head: &[u8]) -> u16 {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(path), Some(version)) if version.starts_with(b"HTTP/1.") => {
            let path = path.split(|byte| *byte == b'?').next();
            match (method, path) {
                (b"GET", Some(b"/")) => 200,
                (b"GET", _) => 404,
                _ => 405,
            }
        }
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(status(request.as_bytes()), expected, "{request:?}");
        }
    }

    #[test]
    fn several_clients_are_served_and_an_idle_one_does_not_hinder_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(&listener, b"<p>page"));
        let _idle = TcpStream::connect(address).unwrap();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: panel\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n<p>page"), "{text}");
        }
    }
}
