//! Who may ask what: the login, requests from other sites, names that are none of this host's, and how often.
//!
//! - Without a key and on loopback there is no login. Otherwise whoever has the token logs in, and has a cookie from then on that scripts
//!   cannot read and that other sites cannot send. Programs send the token with each request (`Authorization: Bearer`).
//! - A page of another site that a browser has open must not press the shutter: requests that say that they come from one are refused,
//!   and so are requests with a body that a form could send (axum's `Json` wants `application/json`).
//! - A site can give its own name this host's address (DNS rebinding), and is then no other site to the browser. So the name in `Host` must
//!   be this host's.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;

use crate::failure::Failure;
use crate::rates::{Rate, Rates};
use crate::state::Dashboard;

/// The cookie that a login gives.
pub const COOKIE_NAME: &str = "swsync_login";
/// Where to log in; open to all, as far as the limit for it goes.
pub const LOGIN: &str = "/api/v1/login";
/// Logins that are remembered; beyond it the oldest has to log in again.
const LOGINS: usize = 256;
/// Characters of a token: 160 bit, out of an alphabet of 32.
const TOKEN: usize = 32;
/// Requests: a page with a hundred thumbnails at once, and what a person can do.
const REQUESTS: Rate = Rate { burst: 600.0, per_second: 60.0 };
/// Attempts to log in. A token cannot be guessed anyway; this keeps the log short.
const ATTEMPTS: Rate = Rate { burst: 10.0, per_second: 0.2 };
/// Changes: orders, settings, notes.
const CHANGES: Rate = Rate { burst: 30.0, per_second: 5.0 };

const LOG_IN: &str = "open the address that `swsync dashboard` printed, with its token, or scan its QR code; programs send the token as \
                      `Authorization: Bearer TOKEN`";

/// The rules for all requests.
#[derive(Debug)]
pub struct Access {
    /// `None`: no login is needed.
    token: Option<String>,
    logins: Mutex<VecDeque<String>>,
    /// Names of this host, in lower case.
    names: Vec<String>,
    /// Pages are served by TLS.
    is_secure: bool,
    is_read_only: bool,
    requests: Rates,
    attempts: Rates,
    changes: Rates,
}

/// A new secret: characters that need no escape in a URL.
#[must_use]
pub fn secret() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    // The thread's generator is a cryptographic one, seeded by the system.
    let bytes: [u8; TOKEN] = rand::random();
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// Compares without telling by its duration where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && differing == 0
}

impl Access {
    /// With a login if `token` is set. `names`: how browsers may call this host, beside its addresses and localhost.
    #[must_use]
    pub fn new(token: Option<String>, names: &[String], is_secure: bool, is_read_only: bool) -> Self {
        let host = swsync_client::host_name().to_ascii_lowercase();
        let own = ["localhost".to_owned(), format!("{host}.local"), host];
        let names = names.iter().map(|name| name.to_ascii_lowercase()).chain(own).collect();
        Self {
            token,
            logins: Mutex::default(),
            names,
            is_secure,
            is_read_only,
            requests: Rates::new(REQUESTS),
            attempts: Rates::new(ATTEMPTS),
            changes: Rates::new(CHANGES),
        }
    }

    /// Whether nothing can be changed.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// The cookie of a new login, if `token` is right.
    pub fn log_in(&self, token: &str) -> Option<HeaderValue> {
        let own = self.token.as_deref()?;
        if !is_same(own, token) {
            return None;
        }
        let login = secret();
        let mut logins = self.logins.lock();
        if logins.len() >= LOGINS {
            logins.pop_front();
        }
        logins.push_back(login.clone());
        let secure = if self.is_secure { "; Secure" } else { "" };
        let cookie = format!(
            "{COOKIE_NAME}={login}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
            7 * 24 * 3600
        );
        HeaderValue::from_str(&cookie).ok()
    }

    /// Whether a login is needed at all.
    #[must_use]
    pub const fn needs_login(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the request with these headers comes from somebody who has logged in, or needs no login.
    pub fn is_logged_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let bearer = headers.get(AUTHORIZATION).map(text);
        if bearer.is_some_and(|bearer| bearer.strip_prefix("Bearer ").is_some_and(|own| is_same(own, token)))
        {
            return true;
        }
        let cookies = headers.get_all(COOKIE).iter().map(text).collect::<Vec<_>>().join("; ");
        let logins = self.logins.lock();
        cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(name, value)| name == COOKIE_NAME && logins.iter().any(|login| is_same(login, value)))
    }

    /// Fails if the request is not meant for this host, or comes from another site.
    fn check_site(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.is_own(host) {
            return Err(Failure::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!("{host:?} is no name of this host"),
                "open the page by its IP address, or start `swsync dashboard` with --host NAME",
            ));
        }
        let scheme = if self.is_secure { "https" } else { "http" };
        let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
        let is_foreign = origin.is_some_and(|origin| origin != format!("{scheme}://{host}"));
        let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or("?"));
        // A link elsewhere may lead here, but for that the page alone is enough, and it is checked as such.
        if is_foreign || site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "a page of another site asks",
                "open the dashboard itself",
            ));
        }
        Ok(())
    }

    /// Whether `host`, as in the field `Host`, is an address or a name of this host.
    fn is_own(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        // A site's name can lead to this host; an address is nobody's but this host's.
        name.parse::<IpAddr>().is_ok() || self.names.contains(&name.to_ascii_lowercase())
    }

    fn check(&self, from: IpAddr, request: &Request) -> Result<(), Failure> {
        let too_often = || {
            Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests from this address",
                "wait some seconds",
            )
        };
        let now = Instant::now();
        if !self.requests.allow(from, now) {
            return Err(too_often());
        }
        let path = request.uri().path();
        let is_api = path.starts_with("/api/");
        if is_api {
            self.check_site(request.headers())?;
        } else if !self
            .is_own(request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default())
        {
            return self.check_site(request.headers());
        }
        if path == LOGIN {
            return if self.attempts.allow(from, now) { Ok(()) } else { Err(too_often()) };
        }
        // The page itself tells nothing of the rig: it has to be there to log in.
        if is_api && !self.is_logged_in(request.headers()) {
            return Err(Failure::new(StatusCode::UNAUTHORIZED, "log in first", LOG_IN));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            if self.is_read_only {
                return Err(Failure::new(
                    StatusCode::FORBIDDEN,
                    "this page is for spectators: it changes nothing",
                    "start `swsync dashboard` without --read-only",
                ));
            }
            if !self.changes.allow(from, now) {
                return Err(too_often());
            }
        }
        Ok(())
    }
}

/// Checks a request, and adds what keeps browsers from doing more with the answer than they should.
pub async fn guard(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let checked = dashboard.access.check(from.ip(), &request);
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        // A report has a policy of its own.
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, is_read_only: bool) -> Access {
        Access::new(token.map(str::to_owned), &["rig.example".to_owned()], false, is_read_only)
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        fields.iter().map(pair).collect()
    }

    fn status(access: &Access, method: Method, path: &str, fields: &[(&str, &str)]) -> u16 {
        let mut request = Request::new(axum::body::Body::empty());
        (*request.method_mut(), *request.uri_mut()) = (method, path.parse().unwrap());
        *request.headers_mut() = headers(fields);
        match access.check(IpAddr::from([127, 0, 0, 1]), &request) {
            Ok(()) => 200,
            Err(Failure::Error(status, _)) => status.as_u16(),
            Err(Failure::Conflict(_)) => 409,
        }
    }

    #[test]
    fn only_names_of_this_host_and_addresses_are_answered() {
        let access = access(None, false);
        let of = |host| status(&access, Method::GET, "/api/v1/status", &[("host", host)]);
        let good = ["127.0.0.1:8080", "[::1]:8080", "localhost", "LocalHost:1", "10.0.0.7", "rig.example:80"];
        assert_eq!(good.map(of), [200; 6]);
        assert_eq!(["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example"].map(of), [421; 4]);
        assert_eq!(status(&access, Method::GET, "/", &[("host", "evil.example")]), 421, "the page neither");
    }

    #[test]
    fn requests_of_other_sites_are_refused() {
        let access = access(None, false);
        let of = |field, value| {
            status(&access, Method::POST, "/api/v1/shoot", &[("host", "localhost:8080"), (field, value)])
        };
        assert_eq!(of("origin", "http://localhost:8080"), 200);
        for foreign in ["http://evil.example", "null", "http://localhost:8081", "https://localhost:8080"] {
            assert_eq!(of("origin", foreign), 403, "{foreign}");
        }
        assert_eq!(["same-origin", "none"].map(|site| of("sec-fetch-site", site)), [200; 2]);
        assert_eq!(["cross-site", "same-site", "what"].map(|site| of("sec-fetch-site", site)), [403; 3]);
    }

    #[test]
    fn a_login_is_needed_for_all_but_the_page() {
        let access = access(Some("secret"), false);
        let of = |path: &str, field: &str, value: &str| {
            status(&access, Method::GET, path, &[("host", "localhost"), (field, value)])
        };
        assert_eq!((of("/", "x", ""), of("/app.js", "x", ""), of(LOGIN, "x", "")), (200, 200, 200));
        assert_eq!(of("/api/v1/events", "x", ""), 401);
        assert_eq!(of("/api/v1/events", "authorization", "Bearer secret"), 200);
        assert_eq!(of("/api/v1/events", "authorization", "Bearer secre"), 401);
        assert!(access.log_in("Secret").is_none() && access.log_in("").is_none());
        let cookie = access.log_in("secret").unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("Secure;"));
        let (pair, _) = cookie.split_once(';').unwrap();
        assert_eq!(of("/api/v1/events", "cookie", &format!("a=b; {pair}")), 200);
        assert_eq!(of("/api/v1/events", "cookie", "swsync_login=secret"), 401, "the token is no login");
    }

    #[test]
    fn spectators_change_nothing() {
        let access = access(None, true);
        let of = |method| status(&access, method, "/api/v1/shoot", &[("host", "localhost")]);
        assert_eq!((of(Method::GET), of(Method::POST), of(Method::DELETE)), (200, 403, 403));
    }

    #[test]
    fn changes_and_logins_are_limited() {
        let access = access(Some("secret"), false);
        let own = [("host", "localhost"), ("authorization", "Bearer secret")];
        let refused = |method: &Method, path| {
            (0..40).filter(|_| status(&access, method.clone(), path, &own) == 429).count()
        };
        assert!(refused(&Method::POST, "/api/v1/shoot") > 0);
        assert!(refused(&Method::POST, LOGIN) >= 29);
        assert_eq!(refused(&Method::GET, "/api/v1/status"), 0);
    }

    #[test]
    fn secrets_differ_and_are_long() {
        let (one, other) = (secret(), secret());
        assert!(one != other && one.len() == 32 && one.chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
