//! Starts the server, and says where the page is.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;

use anyhow::Context as _;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;
use swsync_cli::output;
use tokio::runtime::Runtime;

use crate::access::{Access, secret};
use crate::api::router;
use crate::args::DashboardArgs;
use crate::state::Dashboard;
use crate::{report, tls, watch};

/// Threads that answer requests; those that block have threads of their own.
const WORKERS: usize = 2;
/// Requests that block at once.
const BLOCKING: usize = 32;

/// A server that runs until it is dropped.
pub struct Server {
    /// Where the page is, with the token if a login is needed.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    _runtime: Runtime,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ServedDocument<'a> {
    url: &'a str,
}

impl Server {
    /// Starts to serve, and to ask the devices. The rig need not be there yet.
    ///
    /// # Errors
    /// The address cannot be listened at, or settings or certificate cannot be used.
    pub fn start(args: &DashboardArgs) -> anyhow::Result<Self> {
        let config = args.rig_args().settings()?.visitor_config()?;
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(cert), Some(key)) => Some(tls::config(cert, key)?),
            _ => None,
        };
        let listener =
            TcpListener::bind(args.listen).with_context(|| format!("cannot listen at {}", args.listen))?;
        let address = listener.local_addr().context("cannot learn the port")?;
        listener.set_nonblocking(true).context("cannot use the socket")?;
        let needs_login = config.key.is_some() || !address.ip().is_loopback();
        let token = needs_login.then(secret);
        let url = url(address, tls.is_some(), token.as_deref());
        let access = Access::new(token, &args.hosts, tls.is_some(), args.read_only);
        report::clean_up();
        let dashboard = Dashboard::new(config, access);
        watch::start(&dashboard, args.every);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name("swsync-http")
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let service = router(dashboard).into_make_service_with_connect_info::<SocketAddr>();
        let served = {
            let _entered = runtime.enter();
            match tls {
                Some(tls) => {
                    let server =
                        axum_server::from_tcp_rustls(listener, tls).context("cannot use the socket")?;
                    runtime.spawn(server.serve(service))
                }
                None => {
                    let server = axum_server::from_tcp(listener).context("cannot use the socket")?;
                    runtime.spawn(server.serve(service))
                }
            }
        };
        Ok(Self { url, address, _runtime: runtime, served })
    }

    /// Serves until it fails, which is never so far.
    ///
    /// # Errors
    /// The socket cannot be used any more.
    pub fn wait(self) -> anyhow::Result<()> {
        let Self { _runtime: runtime, served, .. } = self;
        runtime.block_on(served).context("the server has ended")?.context("the server has ended")
    }
}

/// Where browsers find the page. The token is in the fragment, which no browser sends and no log has.
fn url(address: SocketAddr, is_tls: bool, token: Option<&str>) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    let ip = if address.ip().is_unspecified() { own_address(address.ip()) } else { address.ip() };
    let host = SocketAddr::new(ip, address.port());
    let fragment = token.map(|token| format!("#token={token}")).unwrap_or_default();
    format!("{scheme}://{host}/{fragment}")
}

/// This host's address in its network. Asks the routing table; nothing is sent.
fn own_address(unspecified: IpAddr) -> IpAddr {
    let (bind, far) = match unspecified {
        // Addresses for documentation: no host has them.
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let found = UdpSocket::bind(bind).and_then(|socket| {
        socket.connect(far)?;
        socket.local_addr()
    });
    let loopback = match unspecified {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    };
    found.map_or(loopback, |address| address.ip())
}

/// `text` as a QR code for a terminal.
fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    // Terminals are dark as a rule, and phones read either.
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// Runs the command.
///
/// # Errors
/// The page cannot be served.
pub fn run(args: &DashboardArgs) -> anyhow::Result<ExitCode> {
    let server = Server::start(args)?;
    if args.json {
        output::json(&ServedDocument { url: &server.url });
    } else {
        tell(args, &server);
    }
    std::io::stdout().flush().context("standard output")?;
    if args.while_stdin {
        std::thread::spawn(|| {
            // Whether it is closed or fails: whoever has started this is gone.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    server.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &DashboardArgs, server: &Server) {
    let what = if args.read_only { "for spectators, " } else { "" };
    if server.url.contains('#') {
        if let Some(code) = qr_code(&server.url) {
            output::line(&code);
        }
        if args.tls_cert.is_none() && !server.address.ip().is_loopback() {
            output::warn(
                "without TLS (--tls-cert, --tls-key) everybody who can read this network's packets can read the token and press the shutter",
            );
        }
    }
    output::line(&format!("The dashboard is, {what}until Ctrl-C, at {}", server.url));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_a_browser_can_open() {
        let of = |address: &str, is_tls, token| url(address.parse().unwrap(), is_tls, token);
        assert_eq!(of("127.0.0.1:8080", false, None), "http://127.0.0.1:8080/");
        assert_eq!(of("[::1]:8443", true, Some("abc")), "https://[::1]:8443/#token=abc");
        let any = of("0.0.0.0:8080", false, Some("abc"));
        assert!(!any.contains("0.0.0.0") && any.ends_with(":8080/#token=abc"), "{any}");
        assert!(qr_code(&any).unwrap().lines().count() > 10);
    }
}
