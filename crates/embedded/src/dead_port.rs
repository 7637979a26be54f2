//! Ports that never answer, for clients that must give up by themselves.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Connections that a silent port holds at a time; the oldest goes first.
const HELD_MAX: usize = 256;
/// Connections that wait to be accepted, beyond which the system ignores new ones. Linux adds one.
const BACKLOG: u32 = 1;
/// A connection to loopback that is not there by then will never be.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// More connections than any system's smallest backlog takes.
const FILLERS_MAX: usize = 16;

/// A port on which nobody ever answers, until it is dropped.
#[derive(Debug)]
pub struct DeadPort {
    addr: SocketAddr,
    holder: JoinHandle<()>,
}

impl DeadPort {
    /// A port that accepts connections and stays silent on them: requests and TLS handshakes hang. Port 0 takes any free
    /// one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn silent(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let holder = tokio::spawn(async move {
            let mut held = VecDeque::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    held.push_back(stream);
                    if held.len() > HELD_MAX {
                        held.pop_front();
                    }
                }
            }
        });
        Ok(Self { addr, holder })
    }

    /// A port where connecting hangs: its queue of connections is full, so that the system ignores new ones. That is as
    /// near as loopback comes to a firewall that swallows packets. Port 0 takes any free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn unconnectable(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        let mut fillers = Vec::new();
        while fillers.len() < FILLERS_MAX {
            match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(addr)).await {
                Ok(stream) => fillers.push(stream?),
                Err(_) => break,
            }
        }
        let holder = tokio::spawn(async move {
            let _held = (listener, fillers);
            std::future::pending::<()>().await;
        });
        Ok(Self { addr, holder })
    }

    /// The address.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address as an endpoint URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for DeadPort {
    fn drop(&mut self) {
        self.holder.abort();
    }
}
