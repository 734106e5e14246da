//! What a server says before it knows who asks.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::postgres::address::{self, Address};

/// Source: PostgreSQL, "Message Formats", SSLRequest. It is answered before anything is known of who asks.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// So long a server is listened to that may say nothing. What it says, it says at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than it says.
const MOST: u64 = 4096;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn open(address: &Address, port: u16) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Socket(dir) => {
            let dir = address::for_kernel(dir);
            Box::new(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?)
        }
        Address::Host(host) => Box::new(TcpStream::connect((host.as_str(), port)).await?),
    })
}

/// Whether a new process of the server takes a connection on.
pub(super) async fn knock(address: Address, port: u16) -> bool {
    let answer = async {
        let mut stream = open(&address, port).await?;
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    answer.await.is_ok()
}

/// What the main process says for want of a process that could. It does not read what it is sent, so that who has written
/// something may lose the answer with the connection: this one writes nothing.
pub(super) async fn unasked(address: &Address, port: u16) -> Option<String> {
    let mut said = Vec::new();
    let listen = async {
        let stream = open(address, port).await?;
        stream.take(MOST).read_to_end(&mut said).await
    };
    // How it ends says nothing.
    drop(tokio::time::timeout(PATIENCE, listen).await);
    bare_words(&said)
}

/// `E` and a text without a length in front of it. Source: `report_fork_failure_to_client` in postmaster.c.
fn bare_words(said: &[u8]) -> Option<String> {
    let text = said.strip_prefix(b"E")?;
    let text = text.split(|byte| byte.is_ascii_control()).next()?;
    let text = String::from_utf8_lossy(text);
    (!text.is_empty()).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_length_is_told_from_a_message() {
        for (said, expected) in [
            (&b"Ecould not fork: x\n\0"[..], Some("could not fork: x")),
            (b"Ecould not", Some("could not")),
            (b"E\0\0\0\x09SFATAL\0", None),
            (b"E", None),
            (b"HTTP/1.0 400", None),
            (b"", None),
        ] {
            assert_eq!(bare_words(said).as_deref(), expected, "{said:?}");
        }
    }
}
