//! The connection as the client library sees it, with TLS or without, behind a look at what the server asks for first.
//!
//! The library answers whatever a server asks for, also for the password in clear text on a connection that nobody has
//! verified, and has no setting against it. It does hand the whole stream to whoever makes TLS of it, where TLS is to begin at
//! once (`sslnegotiation=direct`): so that is what it is told, and the question whether the server has TLS is asked here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::auth;
use crate::conninfo::require_auth::{Method, RequireAuth};
use crate::conninfo::{Conninfo, SslMode};

/// Source: PostgreSQL, "Message Formats", SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A message's letter, its length, and for an authentication request the kind.
const HEAD: usize = 9;

/// What the server asked for was not given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// Makes the connections of one connection string.
#[derive(Clone)]
pub(super) struct Guard {
    tls: MakeRustlsConnect,
    sslmode: SslMode,
    negotiation: SslNegotiation,
    required: Option<RequireAuth>,
    /// TLS proves who answers.
    proves: bool,
}

impl Guard {
    pub(super) fn new(conninfo: &Conninfo, tls: MakeRustlsConnect, proves: bool) -> Self {
        Self {
            tls,
            sslmode: conninfo.sslmode,
            negotiation: conninfo.ssl_negotiation,
            required: conninfo.require_auth.clone(),
            proves,
        }
    }

    async fn stream(self, tls: Connector, mut socket: Socket) -> io::Result<Guarded> {
        let must = match self.sslmode {
            SslMode::Disable => return Ok(self.guarded(Stream::Plain(socket), false)),
            SslMode::Allow | SslMode::Prefer => false,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => true,
        };
        if self.negotiation == SslNegotiation::Postgres {
            socket.write_all(&SSL_REQUEST).await?;
            socket.flush().await?;
            let has_tls = socket.read_u8().await? == b'S';
            if !has_tls && must {
                return Err(io::Error::other("server does not support TLS"));
            }
            if !has_tls {
                return Ok(self.guarded(Stream::Plain(socket), false));
            }
        }
        let stream = Box::new(tls.connect(socket).await?);
        let is_verified = self.proves;
        Ok(self.guarded(Stream::Tls(stream), is_verified))
    }

    fn guarded(self, stream: Stream, is_verified: bool) -> Guarded {
        Guarded {
            stream,
            required: self.required,
            is_verified,
            head: [0; HEAD],
            filled: 0,
            passed: 0,
            is_judged: false,
        }
    }
}

type Connector = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

impl MakeTlsConnect<Socket> for Guard {
    type Stream = Guarded;
    type TlsConnect = Connecting;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Connecting> {
        let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, host);
        let tls = made.map_err(io::Error::other)?;
        Ok(Connecting {
            guard: self.clone(),
            tls,
        })
    }
}

/// One connection about to be made.
pub(super) struct Connecting {
    guard: Guard,
    tls: Connector,
}

impl TlsConnect<Socket> for Connecting {
    type Stream = Guarded;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Guarded>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(self.guard.stream(self.tls, socket))
    }
}

enum Stream {
    Plain(Socket),
    Tls(Box<<MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>),
}

/// A stream of which the first message is looked at before anybody else sees it.
pub(super) struct Guarded {
    stream: Stream,
    required: Option<RequireAuth>,
    is_verified: bool,
    /// The beginning of the first message, and how much of it is there and was passed on.
    head: [u8; HEAD],
    filled: usize,
    passed: usize,
    is_judged: bool,
}

impl Guarded {
    /// Reads until it is known what the server asks for. The end of the stream, or another message, is the library's to judge.
    fn poll_judged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_judged {
            let mut rest = ReadBuf::new(&mut self.head[self.filled..]);
            ready!(self.stream.read(cx, &mut rest))?;
            let count = rest.filled().len();
            self.filled += count;
            self.is_judged = count == 0 || self.filled == HEAD || self.head[0] != b'R';
        }
        if self.filled == HEAD
            && let Some(why) = method(&self.head)
                .and_then(|method| auth::refusal(method, self.required.as_ref(), self.is_verified))
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                Refused(why),
            )));
        }
        Poll::Ready(Ok(()))
    }
}

/// What an authentication request asks for. `None`: nothing that the library gives.
fn method(head: &[u8; HEAD]) -> Option<Method> {
    let [b'R', _, _, _, _, kind @ ..] = head else {
        return None;
    };
    match u32::from_be_bytes(*kind) {
        0 => Some(Method::None),
        3 => Some(Method::Password),
        5 => Some(Method::Md5),
        // The library knows no other mechanism.
        10 => Some(Method::ScramSha256),
        _ => None,
    }
}

impl Stream {
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_judged(cx))?;
        let held = &this.head[this.passed..this.filled];
        if held.is_empty() {
            return this.stream.read(cx, buf);
        }
        let count = held.len().min(buf.remaining());
        buf.put_slice(&held[..count]);
        this.passed += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Guarded {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.stream {
            Stream::Plain(_) => ChannelBinding::none(),
            Stream::Tls(stream) => stream.channel_binding(),
        }
    }
}
