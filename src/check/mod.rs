//! `expgsql check`: whether the server of this node serves what a load balancer's clients want.
//!
//! It is started for each question and ends with the answer, so there is nothing to keep running. It needs no right but a
//! login, and neither Pacemaker nor root.

mod args;
mod ask;
mod http;

use std::io::{self, Write as _};
use std::panic::catch_unwind;
use std::process::ExitCode;

pub use args::CheckArgs;

use crate::decide::serve::{Answer, Serves, serve};

/// What stands below the options: how it ends, how it logs in, what its answer is worth.
pub const NOTES: &str = "\
Exit codes:
  0    the server serves what is asked for (with --haproxy and --http: an answer was given)
  1    it does not: another role, too far behind, or no queries yet
  2    it could not be asked, or wrong usage

Where it connects to, and as whom, is said as to psql: by these options or by PGHOST, PGPORT,
PGUSER, PGDATABASE, PGPASSFILE and PGPASSWORD. With a limit of lag the user must see the WAL
receiver: GRANT pg_read_all_stats.

A standby does not know what its primary wrote and has not sent. While it streams and has
replayed all that it was told of, its lag is 0; otherwise its age is that of the last commit
that it has replayed, by the clocks of both machines.";

/// As much of a sentence as HAProxy keeps, and then some.
const LONGEST: usize = 200;

/// Asks, and prints the answer in the form that is wanted.
#[must_use]
pub fn run(args: &CheckArgs) -> ExitCode {
    let answered = catch_unwind(|| respond(args));
    let (text, code) = answered.unwrap_or_else(|_| {
        // The panic has printed its message.
        ("drain #bug in expgsql\n".to_owned(), 2)
    });
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code.into(),
        Err(_) => 2.into(),
    }
}

fn respond(args: &CheckArgs) -> (String, u8) {
    if args.http {
        return (by_http(args), 0);
    }
    let answer = serve(args.role, &args.limits(), &ask::ask(args));
    if args.haproxy {
        (for_haproxy(&answer), 0)
    } else {
        (for_people(&answer), exit_code(answer.serves))
    }
}

fn by_http(args: &CheckArgs) -> String {
    let request = http::read(io::stdin(), args.timeout)
        .and_then(|head| http::understand(&head, args.role, args.limits()));
    match request {
        Ok(asked) => {
            let answer = serve(asked.wanted, &asked.limits, &ask::ask(args));
            http::answer(&answer, asked.is_head)
        }
        Err(rejected) => http::rejection(&rejected),
    }
}

const fn exit_code(serves: Serves) -> u8 {
    match serves {
        Serves::Yes => 0,
        Serves::Behind | Serves::No => 1,
        Serves::Unknown => 2,
    }
}

fn for_people(answer: &Answer) -> String {
    let mut words = Vec::new();
    let verdict = match answer.serves {
        Serves::Yes => "serves",
        Serves::Behind | Serves::No => "does not serve",
        Serves::Unknown => "could not ask",
    };
    words.extend(answer.is.map(|is| is.to_string()));
    words.extend(
        answer
            .lag
            .bytes
            .map(|bytes| format!("{bytes} bytes behind")),
    );
    let time = answer.lag.time.map(|time| time.as_secs_f64());
    words.extend(time.map(|time| format!("{time:.1} s behind")));
    words.extend((!answer.why.is_empty()).then(|| one_line(&answer.why)));
    format!("{verdict}: {}\n", words.join(", "))
}

/// Source: HAProxy's configuration manual, "agent-check". A server that was drained is so until it is called ready. Of whom nothing is
/// known nothing is said but that it gets nobody new: one login that is slow must not cut off who works there.
fn for_haproxy(answer: &Answer) -> String {
    let words = match answer.serves {
        Serves::Yes => "up ready 100%",
        Serves::Behind => "up drain",
        Serves::No => "down",
        Serves::Unknown => "drain",
    };
    if answer.why.is_empty() {
        format!("{words}\n")
    } else {
        format!("{words} #{}\n", one_line(&answer.why))
    }
}

fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::serve::{Is, Lag};
    use std::time::Duration;

    fn answer(serves: Serves, why: &str) -> Answer {
        Answer {
            serves,
            is: Some(Is::Standby),
            lag: Lag {
                bytes: Some(5),
                time: Some(Duration::from_millis(1500)),
            },
            why: why.to_owned(),
        }
    }

    #[test]
    fn each_answer_has_its_words_and_its_code() {
        let behind = "standby, 5 bytes behind, 1.5 s behind";
        for (serves, why, people, haproxy, code) in [
            (Serves::Yes, "", "serves: ", "up ready 100%\n", 0),
            (
                Serves::Behind,
                "late",
                "does not serve: ",
                "up drain #late\n",
                1,
            ),
            (Serves::No, "wrong", "does not serve: ", "down #wrong\n", 1),
            (
                Serves::Unknown,
                "mute\r\n",
                "could not ask: ",
                "drain #mute  \n",
                2,
            ),
        ] {
            let it = answer(serves, why);
            let text = for_people(&it);
            assert!(text.starts_with(&format!("{people}{behind}")), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert_eq!(for_haproxy(&it), haproxy);
            assert_eq!(exit_code(serves), code);
        }
    }

    #[test]
    fn a_long_reason_is_cut() {
        let it = answer(Serves::No, &"é".repeat(1000));
        assert!(for_haproxy(&it).chars().count() < LONGEST + 10);
    }
}
