//! The server over real sockets, with clients that behave and clients that do not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
}

async fn server(limits: Limits) -> Server {
    let health = Health::waiting_for(["the table"]);
    let admin = Admin::bind("127.0.0.1:0").await.unwrap().limits(limits);
    let (address, stop) = (admin.address(), CancellationToken::new());
    tokio::spawn(admin.serve(Metrics::new("test", "1.2.3"), health.clone(), stop.clone()));
    Server { address, health, stop }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}

/// Waits until the server has ended the connection.
async fn ended(mut socket: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // Cut or closed, both are an end.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut rest))
        .await
        .expect("the connection lives on");
    rest
}

#[tokio::test]
async fn a_scrape_has_the_build_and_an_end() {
    let server = server(Limits::default()).await;
    let answer = get(server.address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("application/openmetrics-text"), "{answer}");
    assert!(
        answer.contains(r#"kinex_build_info{version="1.2.3",program="test"} 1"#),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    assert!(get(server.address, "/secrets").await.starts_with("HTTP/1.1 404"));
    assert!(get(server.address, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let server = server(Limits::default()).await;
    server.health.lack("the stream");
    let answer = get(server.address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("waiting for: the stream, the table"), "{answer}");
    server.health.have("the stream");
    server.health.have("the table");
    assert!(get(server.address, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn probes_ask_at_the_moment_they_are_made() {
    let server = server(Limits::default()).await;
    server.health.have("the table");
    let state = Arc::new(Mutex::new((None, None)));
    let (live, ready) = (Arc::clone(&state), Arc::clone(&state));
    server.health.check(
        move || live.lock().unwrap().0.clone(),
        move || ready.lock().unwrap().1.clone(),
    );
    for path in ["/livez", "/readyz"] {
        assert!(get(server.address, path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    *state.lock().unwrap() = (Some("the engine".to_owned()), Some("a road".to_owned()));
    let live = get(server.address, "/livez").await;
    assert!(
        live.starts_with("HTTP/1.1 503") && live.contains("standing still: the engine"),
        "{live}"
    );
    let ready = get(server.address, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("waiting for: a road"),
        "{ready}"
    );
}

#[tokio::test]
async fn a_client_that_sends_slowly_is_cut() {
    let limits = Limits {
        lifetime: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = server(limits).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").await.unwrap();
    assert!(!String::from_utf8_lossy(&ended(socket).await).contains("200 OK"));
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_cut() {
    let server = server(Limits::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nX-Long: ").await.unwrap();
    let flood = async {
        // Fails once the server has closed.
        while socket.write_all(&[b'x'; 4_096]).await.is_ok() {}
    };
    timeout(PATIENCE, flood).await.expect("the server reads on");
}

#[tokio::test]
async fn connections_that_hang_hold_the_others_up_for_their_lifetime_only() {
    let limits = Limits {
        connections: 2,
        lifetime: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = server(limits).await;
    let mut hanging = Vec::new();
    for _ in 0..2 {
        hanging.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert!(get(server.address, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn scrapes_beyond_the_limit_are_told_to_come_back() {
    let limits = Limits {
        scrapes: 0,
        ..Limits::default()
    };
    let server = server(limits).await;
    let answer = get(server.address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = server(Limits::default()).await;
    let address = server.address.to_string();
    let again = Admin::bind(&address).await;
    let error = again.unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn a_cancelled_server_cuts_its_connections() {
    let server = server(Limits::default()).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    assert!(get(server.address, "/livez").await.contains("alive"));
    server.stop.cancel();
    let cut = async {
        // Nobody accepts any more; what was accepted lives no longer than its lifetime.
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cut).await.expect("the server still listens");
    drop(idle);
}
