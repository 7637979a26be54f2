//! A listener whose connections can be cut off from inside a request, so that a client sees a lost or reset connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::{Faults, Lines};
use crate::front::Serves;

const WHOLE: u8 = 0;
const CLOSE: u8 = 1;
const RESET: u8 = 2;

/// The handle by which a request ends its own connection. Nothing is sent any more once it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Cutter {
    pub(crate) peer: SocketAddr,
    /// What slows the connection down.
    pub(crate) lines: Lines,
    state: Arc<AtomicU8>,
    flushes: Arc<AtomicU64>,
}

impl Cutter {
    /// Ends the connection in good order, without an answer.
    pub(crate) fn close(&self) {
        self.state.store(CLOSE, Ordering::SeqCst);
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(&self) {
        self.state.store(RESET, Ordering::SeqCst);
    }
}

impl Cutter {
    /// How often everything written so far had been handed to the system.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }
}

/// Accepts connections that can be cut, and that stay silent when the fault plan says so.
pub(crate) struct CuttableListener {
    pub(crate) listener: TcpListener,
    pub(crate) faults: Faults,
    pub(crate) serves: Serves,
}

impl Listener for CuttableListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Small answers must not wait for the client's delayed acknowledgement. A socket that is already dead says so
        // at its first read.
        let _ = stream.set_nodelay(true);
        let cutter = Cutter {
            peer,
            lines: Lines::default(),
            state: Arc::new(AtomicU8::new(WHOLE)),
            flushes: Arc::default(),
        };
        let voice = if self.faults.silences(|service| self.serves.includes(service)) {
            Voice::Undecided
        } else {
            Voice::Answers
        };
        (Connection { stream, cutter, voice }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().cutter.clone()
    }
}

/// A TCP stream whose writes fail once it is cut; the server then drops it.
pub(crate) struct Connection {
    stream: TcpStream,
    cutter: Cutter,
    voice: Voice,
}

/// Whether a connection answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    Answers,
    /// It is to be silent, unless it turns out to ask for counters or faults.
    Undecided,
    Silent,
}

/// Longest method and path up to where a private path is known.
const REQUEST_LINE: usize = 32;

impl Connection {
    fn check(&self) -> io::Result<()> {
        match self.cutter.state.load(Ordering::SeqCst) {
            WHOLE => Ok(()),
            RESET => {
                self.stream.set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.voice == Voice::Undecided {
            let mut line = [0; REQUEST_LINE];
            let mut line = ReadBuf::new(&mut line);
            ready!(self.stream.poll_peek(cx, &mut line))?;
            let private = line.filled().windows(9).any(|window| window == b" /_kinex/");
            self.voice = if private { Voice::Answers } else { Voice::Silent };
        }
        if self.voice == Voice::Silent {
            // What comes is taken and forgotten, until the client gives up.
            let mut sink = [0; 4_096];
            loop {
                let mut sunk = ReadBuf::new(&mut sink);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut sunk))?;
                if sunk.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.cutter.flushes.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
