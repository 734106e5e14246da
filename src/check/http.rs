//! One HTTP request, read within limits, and its answer.

use std::io::{self, Read};
use std::time::Duration;

use serde::Serialize;

use crate::decide::serve::{Answer, Is, Limits, Serves, Wanted};
use crate::sys::{Deadline, within};

use super::args::{bytes, seconds};

/// A load balancer's request has some hundred bytes.
const LONGEST: usize = 8 << 10;

/// So many header lines are taken.
const HEADERS: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    pub(super) limits: Limits,
    /// HEAD: the answer has no body.
    pub(super) is_head: bool,
}

/// Why a request is not answered with what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) status: u16,
    pub(super) why: String,
}

fn rejected(status: u16, why: impl Into<String>) -> Rejected {
    Rejected {
        status,
        why: why.into(),
    }
}

/// Reads the head of a request from `input`, for as long as `limit`.
pub(super) fn read(
    input: impl Read + Send + 'static,
    limit: Duration,
) -> Result<Vec<u8>, Rejected> {
    match within(Deadline::after(limit), move || head(input)) {
        Ok(head) => head,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(rejected(408, "the request is not complete in time"))
        }
        Err(error) => Err(rejected(500, error.to_string())),
    }
}

fn head(mut input: impl Read) -> Result<Vec<u8>, Rejected> {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    loop {
        let length = match input.read(&mut some) {
            Ok(0) => return Err(rejected(400, "the request ends in the middle")),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(rejected(400, format!("the request can't be read: {error}"))),
        };
        head.extend_from_slice(&some[..length]);
        if head.len() > LONGEST {
            return Err(rejected(
                431,
                format!("the request is longer than {LONGEST} bytes"),
            ));
        }
        // What is not HTTP is found out at once, and not when it ends.
        if is_complete(&head)? {
            return Ok(head);
        }
    }
}

fn is_complete(head: &[u8]) -> Result<bool, Rejected> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(head).map_err(|error| malformed(&error))?;
    Ok(parsed.is_complete())
}

fn malformed(error: &httparse::Error) -> Rejected {
    match error {
        httparse::Error::TooManyHeaders => {
            rejected(431, format!("the request has more than {HEADERS} headers"))
        }
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => rejected(400, format!("this is no HTTP request: {error}")),
    }
}

/// What a request asks for; what it leaves open is as on the command line.
pub(super) fn understand(head: &[u8], role: Wanted, given: Limits) -> Result<Asked, Rejected> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).map_err(|error| malformed(&error))?;
    let is_head = match request.method {
        Some("HEAD") => true,
        // HAProxy asks with OPTIONS where it is not told otherwise.
        Some("GET" | "OPTIONS") => false,
        Some(_) | None => return Err(rejected(405, "GET, HEAD and OPTIONS are answered")),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let wanted = match path.trim_matches('/') {
        "" => role,
        name => name
            .parse()
            .map_err(|_| rejected(404, "there are /primary, /standby and /any"))?,
    };
    Ok(Asked {
        wanted,
        limits: limits(query, given)?,
        is_head,
    })
}

fn limits(query: &str, mut limits: Limits) -> Result<Limits, Rejected> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = |why: String| rejected(400, format!("{name}: {why}"));
        match name {
            "max-lag" => limits.bytes = bytes(value).map_err(wrong)?.0,
            "max-lag-time" => {
                let limit = seconds(value).map_err(wrong)?;
                limits.time = Some(limit).filter(|limit| !limit.is_zero());
            }
            _ => return Err(rejected(400, "max-lag and max-lag-time can be given")),
        }
    }
    Ok(limits)
}

#[derive(Serialize)]
struct Body<'a> {
    serves: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Is>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
}

/// The whole answer as it goes to the client.
pub(super) fn answer(answer: &Answer, is_head: bool) -> String {
    let serves = answer.serves == Serves::Yes;
    let body = Body {
        serves,
        role: answer.is,
        lag_bytes: answer.lag.bytes,
        lag_seconds: answer.lag.time.map(|time| time.as_secs_f64()),
        why: &answer.why,
    };
    response(if serves { 200 } else { 503 }, &body, is_head)
}

/// The answer to what is not answered.
pub(super) fn rejection(why: &Rejected) -> String {
    let body = Body {
        serves: false,
        role: None,
        lag_bytes: None,
        lag_seconds: None,
        why: &why.why,
    };
    response(why.status, &body, false)
}

fn response(status: u16, body: &Body<'_>, is_head: bool) -> String {
    let name = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let mut text = serde_json::to_string(body).unwrap_or_default();
    text.push('\n');
    let length = text.len();
    let shown = if is_head { "" } else { &text };
    format!(
        "HTTP/1.1 {status} {name}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{shown}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::serve::Lag;

    const LIMIT: Duration = Duration::from_secs(20);

    fn asked(request: &str) -> Result<Asked, u16> {
        let bytes = io::Cursor::new(request.as_bytes().to_vec());
        read(bytes, LIMIT)
            .and_then(|head| understand(&head, Wanted::Any, Limits::default()))
            .map_err(|rejected| rejected.status)
    }

    #[test]
    fn the_path_says_the_role_and_the_query_the_limits() {
        for (line, wanted, bytes, time) in [
            ("GET / HTTP/1.1", Wanted::Any, None, None),
            ("OPTIONS /primary HTTP/1.0", Wanted::Primary, None, None),
            ("GET /standby HTTP/1.1", Wanted::Standby, None, None),
            (
                "GET /standby/?max-lag=16MB HTTP/1.1",
                Wanted::Standby,
                Some(16 << 20),
                None,
            ),
            (
                "GET /any?max-lag=1&max-lag-time=30 HTTP/1.1",
                Wanted::Any,
                Some(1),
                Some(30),
            ),
            (
                "GET /any?max-lag=0&max-lag-time=0 HTTP/1.1",
                Wanted::Any,
                None,
                None,
            ),
        ] {
            let found = asked(&format!("{line}\r\nHost: h\r\n\r\n")).unwrap();
            let limits = Limits {
                bytes,
                time: time.map(Duration::from_secs),
            };
            assert_eq!((found.wanted, found.limits), (wanted, limits), "{line}");
        }
        assert!(asked("HEAD / HTTP/1.1\r\n\r\n").unwrap().is_head);
    }

    #[test]
    fn what_is_no_such_request_is_refused_with_its_reason() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LONGEST));
        for (request, status) in [
            ("", 400),
            ("GET / HTTP/1.1\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\u{2}", 400),
            ("SELECT 1;\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("GET /replica HTTP/1.1\r\n\r\n", 404),
            ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
            ("GET /any?max-lag=much HTTP/1.1\r\n\r\n", 400),
            ("GET /any?max-lag-time=-1 HTTP/1.1\r\n\r\n", 400),
            ("GET /any?maxlag=1 HTTP/1.1\r\n\r\n", 400),
            (&many, 431),
            (&long, 431),
        ] {
            assert_eq!(asked(request), Err(status), "{request:.40}");
        }
    }

    #[test]
    fn a_client_that_says_nothing_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let error = read(reader, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.status, 408);
        drop(writer);
    }

    #[test]
    fn the_body_says_what_is_known_and_only_a_yes_is_200() {
        for (serves, status) in [
            (Serves::Yes, "200 OK"),
            (Serves::Behind, "503 Service Unavailable"),
            (Serves::No, "503 Service Unavailable"),
            (Serves::Unknown, "503 Service Unavailable"),
        ] {
            let it = Answer {
                serves,
                is: Some(Is::Standby),
                lag: Lag {
                    bytes: Some(7),
                    time: None,
                },
                why: "line\r\n\"two\"".to_owned(),
            };
            let text = answer(&it, false);
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{text}"
            );
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(json["lag_bytes"], 7);
            assert_eq!(json["serves"], serves == Serves::Yes);
            assert!(answer(&it, true).ends_with("\r\n\r\n"));
        }
    }
}
