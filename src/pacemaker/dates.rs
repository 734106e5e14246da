//! When the rule of a constraint is true: its dates, read as Pacemaker reads them.
//!
//! They are ISO 8601 as Pacemaker understands it, which is more, and other, than the standard: a blank before the offset
//! (`crm_resource --lifetime` writes that outside UTC), the day of the year, the day of a week, or no offset. A time without one is the
//! local time, and a date without a time is midnight in UTC. What is no date, and what releases understand differently, can't be told here.
//!
//! Source: Pacemaker 2.1.5 and 3.0.2, `lib/common/iso8601.c` (`parse_date`, `crm_time_parse`, `crm_time_parse_offset`), `lib/pengine/rules.c`
//! (`pe__eval_date_expr`, `pe_cron_range_satisfied`) and its successor `lib/common/rules.c`.

use jiff::civil::{self, Date, DateTime, ISOWeekDate};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};
use roxmltree::Node;

use crate::pacemaker::document::child;

const HOUR: i32 = 3600;

/// The time by which rules are judged, and the zone of those dates that name none.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    now: i64,
    local: DateTime,
    /// Of a time that is given without one. As Pacemaker has it, that of now, whatever the date.
    offset: i32,
}

impl Clock {
    pub(crate) fn now() -> Self {
        Self::at(Timestamp::now(), TimeZone::system())
    }

    pub(crate) fn at(now: Timestamp, zone: TimeZone) -> Self {
        let offset = zone.to_offset(now).seconds();
        Self {
            now: now.as_second(),
            local: zone.to_datetime(now),
            offset: local_offset(offset),
        }
    }
}

/// What Pacemaker makes of the zone's offset where a time has none: of hours and a part of one to the west it adds the part.
fn local_offset(seconds: i32) -> i32 {
    let (hours, rest) = (seconds / HOUR, seconds % HOUR / 60 * 60);
    hours * HOUR + if hours < 0 { rest.abs() } else { rest }
}

/// Whether a `date_expression` is true now; `None`: that can't be told.
pub(super) fn holds(expression: Node<'_, '_>, clock: &Clock) -> Option<bool> {
    let by = |offsets| Judge { clock, offsets }.holds(expression);
    let old = by(Offsets::AfterBlank);
    (old == by(Offsets::Joined)).then_some(old).flatten()
}

/// Where an offset may be: up to Pacemaker 3.0.1 behind a blank only, and one that is not there is none. A `Z` counts in all.
#[derive(Clone, Copy)]
enum Offsets {
    AfterBlank,
    Joined,
}

struct Judge<'a> {
    clock: &'a Clock,
    offsets: Offsets,
}

impl Judge<'_> {
    fn holds(&self, expression: Node<'_, '_>) -> Option<bool> {
        // What is no date would be no bound at all to an older Pacemaker, and no rule that is ever true to a newer one.
        let bound = |name: &str| match expression.attribute(name) {
            None => Some(None),
            Some(text) => self.read(text).map(Some),
        };
        let (start, mut end) = (bound("start")?, bound("end")?);
        if let (Some(start), None, Some(duration)) = (start, end, child(expression, "duration")) {
            end = Some(start.plus(duration)?);
        }
        let now = self.clock.now;
        let operation = expression.attribute("operation").unwrap_or("in_range");
        match operation.to_ascii_lowercase().as_str() {
            "lt" => Some(now < end?.seconds()?),
            "gt" => Some(now > start?.seconds()?),
            "in_range" if start.is_none() && end.is_none() => None,
            "in_range" => {
                let has_begun = start.map_or(Some(true), |at| Some(now >= at.seconds()?))?;
                let is_on = end.map_or(Some(true), |at| Some(now <= at.seconds()?))?;
                Some(has_begun && is_on)
            }
            "date_spec" => specified(child(expression, "date_spec")?, self.clock.local),
            _ => None,
        }
    }

    fn read(&self, text: &str) -> Option<Moment> {
        let is_time_alone = text.starts_with('T') || text.as_bytes().get(2) == Some(&b':');
        if is_time_alone {
            let time = text.strip_prefix('T').unwrap_or(text);
            return self.at(self.clock.local.date(), time);
        }
        let is_start_of_all = text
            .get(..5)
            .is_some_and(|word| word.eq_ignore_ascii_case("epoch"));
        if is_start_of_all {
            let is_whole = matches!(text.as_bytes().get(5), None | Some(b'/' | b' '));
            return is_whole.then_some(Moment {
                at: civil::date(1970, 1, 1).to_datetime(civil::Time::midnight()),
                offset: 0,
            });
        }
        let date = date(text)?;
        let behind = text.trim_start_matches(|c: char| c.is_ascii_digit() || "-W".contains(c));
        match behind.strip_prefix([' ', 'T']) {
            Some(time) => self.at(date, time),
            None => Some(Moment {
                at: date.to_datetime(civil::Time::midnight()),
                offset: 0,
            }),
        }
    }

    fn at(&self, date: Date, time: &str) -> Option<Moment> {
        let seconds = time_of_day(time)?;
        let offset = match (time.find('Z'), self.offsets) {
            (Some(_), _) => Some("Z"),
            (None, Offsets::AfterBlank) => time.find(' ').map(|at| &time[at..]),
            (None, Offsets::Joined) => time.find([' ', '+', '-']).map(|at| &time[at..]),
        };
        let offset = match offset.map(str::trim_start) {
            None => self.clock.offset,
            Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => time_of_day(text)?,
            Some(text) => match (text.strip_prefix('+'), text.strip_prefix('-')) {
                (Some(east), _) => time_of_day(east)?,
                (_, Some(west)) => -time_of_day(west)?,
                (None, None) => 0,
            },
        };
        let at = date.to_datetime(civil::Time::midnight());
        let at = at.checked_add(Span::new().seconds(seconds)).ok()?;
        Some(Moment { at, offset })
    }
}

#[derive(Clone, Copy)]
struct Moment {
    at: DateTime,
    offset: i32,
}

impl Moment {
    fn seconds(self) -> Option<i64> {
        let offset = Offset::from_seconds(self.offset).ok()?;
        Some(offset.to_timestamp(self.at).ok()?.as_second())
    }

    /// A year later is the same day of the year.
    fn plus(self, duration: Node<'_, '_>) -> Option<Self> {
        let part = |name: &str| match duration.attribute(name) {
            None => Some(0),
            Some(text) => text.trim().parse::<i32>().ok(),
        };
        let date = self.at.date();
        let year = i16::try_from(i32::from(date.year()).checked_add(part("years")?)?).ok()?;
        let day = i32::from(date.day_of_year()) - 1;
        let first = Date::new(year, 1, 1).ok()?;
        let date = first.checked_add(Span::new().days(day)).ok()?;
        let month = Span::new().try_months(part("months")?).ok()?;
        let days = i64::from(part("weeks")?) * 7 + i64::from(part("days")?);
        let hours = i64::from(part("hours")?) * i64::from(HOUR);
        let seconds = hours + i64::from(part("minutes")?) * 60 + i64::from(part("seconds")?);
        let rest = Span::new().try_days(days).ok()?.try_seconds(seconds).ok()?;
        let at = date.to_datetime(self.at.time()).checked_add(month).ok()?;
        Some(Self {
            at: at.checked_add(rest).ok()?,
            ..self
        })
    }
}

/// The digits at the start of a text, `width` of them at most, and what is behind them.
fn number(text: &str, width: usize) -> Option<(i32, &str)> {
    let digits = text.bytes().take(width).take_while(u8::is_ascii_digit);
    let (number, rest) = text.split_at(digits.count());
    Some((number.parse().ok()?, rest))
}

fn date(text: &str) -> Option<Date> {
    let (first, rest) = number(text, 10)?;
    let small = |number: i32| i8::try_from(number).ok();
    let Some(rest) = rest.strip_prefix('-') else {
        let (year, rest) = number(text, 4)?;
        let (month, rest) = number(rest, 2)?;
        let (day, _) = number(rest, 2)?;
        return Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok();
    };
    let year = i16::try_from(first).ok()?;
    if let Some(rest) = rest.strip_prefix('W') {
        let (week, rest) = number(rest, 10)?;
        let (day, _) = number(rest.strip_prefix('-')?, 10)?;
        let day = civil::Weekday::from_monday_one_offset(small(day)?).ok()?;
        let date = ISOWeekDate::new(year, small(week)?, day).ok()?;
        return Some(date.date());
    }
    let (second, rest) = number(rest, 10)?;
    let third = rest.strip_prefix('-').and_then(|rest| number(rest, 10));
    if let Some((day, _)) = third {
        return Date::new(year, small(second)?, small(day)?).ok();
    }
    let first = Date::new(year, 1, 1).ok()?;
    let is_in_it = (1..=i32::from(first.days_in_year())).contains(&second);
    let date = first.checked_add(Span::new().try_days(second - 1).ok()?);
    date.ok().filter(|_| is_in_it)
}

/// Hours, then minutes and seconds, which may be left out, with colons or without; in seconds. 24:00 is the end of the day.
fn time_of_day(text: &str) -> Option<i32> {
    let text = text.trim_start();
    let (first, rest) = number(text, 10)?;
    let mut parts = [first, 0, 0];
    let mut known = 1;
    let mut behind = rest;
    while let Some((part, rest)) = behind.strip_prefix(':').and_then(|rest| number(rest, 10))
        && known < parts.len()
    {
        parts[known] = part;
        known += 1;
        behind = rest;
    }
    if known == 1 {
        let mut behind = text;
        for part in &mut parts {
            let Some((two, rest)) = number(behind, 2) else {
                break;
            };
            *part = two;
            behind = rest;
        }
    }
    let [hours, minutes, seconds] = parts;
    let is_end_of_day = (hours, minutes, seconds) == (24, 0, 0);
    let is_time = hours < 24 && minutes < 60 && seconds < 60;
    (is_time || is_end_of_day).then(|| hours * HOUR + minutes * 60 + seconds)
}

/// Whether the local time is one that a `date_spec` allows.
fn specified(spec: Node<'_, '_>, now: DateTime) -> Option<bool> {
    let week = now.date().iso_week_date();
    let fields = [
        ("years", i32::from(now.year())),
        ("months", i32::from(now.month())),
        ("monthdays", i32::from(now.day())),
        ("hours", i32::from(now.hour())),
        ("minutes", i32::from(now.minute())),
        ("seconds", i32::from(now.second())),
        ("yeardays", i32::from(now.day_of_year())),
        ("weekyears", i32::from(week.year())),
        ("weeks", i32::from(week.week())),
        ("weekdays", i32::from(week.weekday().to_monday_one_offset())),
    ];
    let asked = fields.into_iter().filter_map(|(name, now)| {
        let text = spec.attribute(name)?;
        Some(is_within(text, now))
    });
    // Newer releases know no moon.
    let moon = spec.attribute("moon").map(|_| None);
    let all: Vec<Option<bool>> = asked.chain(moon).collect();
    if all.contains(&Some(false)) {
        return Some(false);
    }
    (!all.contains(&None)).then_some(true)
}

/// `9`, `9-16`, `9-` or `-16`.
fn is_within(range: &str, value: i32) -> Option<bool> {
    let bound = |text: &str| text.trim().parse::<i32>().ok();
    let (low, high) = match range.split_once('-') {
        None => (Some(bound(range)?), Some(bound(range)?)),
        Some(("", "")) => return None,
        Some(("", high)) => (None, Some(bound(high)?)),
        Some((low, "")) => (Some(bound(low)?), None),
        Some((low, high)) => (Some(bound(low)?), Some(bound(high)?)),
    };
    let is_reached = low.is_none_or(|low| value >= low);
    Some(is_reached && high.is_none_or(|high| value <= high))
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn clock(zone: &str, now: &str) -> Clock {
        Clock::at(now.parse().unwrap(), TimeZone::get(zone).unwrap())
    }

    /// `y`, `n`, or `?` where it can't be told.
    fn told(clock: &Clock, attributes: &str, inside: &str) -> &'static str {
        let text = format!("<date_expression {attributes}>{inside}</date_expression>");
        let document = Document::parse(&text).unwrap();
        match holds(document.root_element(), clock) {
            Some(true) => "y",
            Some(false) => "n",
            None => "?",
        }
    }

    /// Each seen with Pacemaker 2.1.5, but those with a `?`: `TZ=ZONE crm_simulate -t NOW -x FILE -S`.
    #[test]
    fn a_date_is_what_pacemaker_makes_of_it() {
        let noon = "2026-12-01T12:00:00Z";
        for (zone, now, expression, expected) in [
            // crm_resource --ban --lifetime, in UTC and elsewhere.
            (
                "UTC",
                noon,
                r#"operation="lt" end="2026-12-01 12:30:00Z""#,
                "y",
            ),
            (
                "UTC",
                noon,
                r#"operation="lt" end="2026-12-01 11:30:00Z""#,
                "n",
            ),
            (
                "Europe/Paris",
                noon,
                r#"operation="lt" end="2026-12-01 13:30:00 +01:00""#,
                "y",
            ),
            (
                "Europe/Paris",
                noon,
                r#"operation="lt" end="2026-12-01 12:30:00 +01:00""#,
                "n",
            ),
            (
                "America/New_York",
                noon,
                r#"operation="lt" end="2026-12-01 08:30:00 -05:00""#,
                "y",
            ),
            (
                "America/New_York",
                noon,
                r#"operation="lt" end="2026-12-01T12:59:00 +01:00""#,
                "n",
            ),
            // A time without an offset is local, a date without a time is not.
            (
                "Europe/Paris",
                noon,
                r#"operation="lt" end="2026-12-01 12:30:00""#,
                "n",
            ),
            (
                "Europe/Paris",
                noon,
                r#"operation="lt" end="2026-12-01T13:30:00""#,
                "y",
            ),
            (
                "America/New_York",
                noon,
                r#"operation="lt" end="2026-12-01T08:00:00""#,
                "y",
            ),
            (
                "America/New_York",
                noon,
                r#"operation="gt" start="2026-12-02""#,
                "n",
            ),
            (
                "America/New_York",
                "2026-12-01T00:30:00Z",
                r#"operation="gt" start="2026-12-01""#,
                "y",
            ),
            (
                "America/New_York",
                "2026-12-01T00:30:00Z",
                r#"operation="gt" start="2026-12-01T00""#,
                "n",
            ),
            (
                "Asia/Tokyo",
                noon,
                r#"operation="gt" start="2026-12-01""#,
                "y",
            ),
            // Half an hour to the west is half an hour to the east.
            (
                "America/St_Johns",
                noon,
                r#"operation="lt" end="2026-12-01T09:29""#,
                "n",
            ),
            (
                "America/St_Johns",
                noon,
                r#"operation="lt" end="2026-12-01T09:31""#,
                "y",
            ),
            (
                "America/St_Johns",
                noon,
                r#"operation="lt" end="2026-12-01 08:31 -03:30""#,
                "y",
            ),
            // An offset without a blank: releases differ.
            (
                "America/New_York",
                noon,
                r#"operation="lt" end="2026-12-01T13:01:00+01:00""#,
                "y",
            ),
            (
                "America/New_York",
                noon,
                r#"operation="lt" end="2026-12-01T12:59:00+01:00""#,
                "?",
            ),
            (
                "Europe/Paris",
                noon,
                r#"operation="lt" end="2026-12-01T12:59:00+01:00""#,
                "n",
            ),
            // Other forms.
            ("UTC", noon, r#"operation="gt" start="2026-335""#, "y"),
            ("UTC", noon, r#"operation="gt" start="2026-336""#, "n"),
            ("UTC", noon, r#"operation="gt" start="2026-W49-2""#, "y"),
            ("UTC", noon, r#"operation="gt" start="2026-W49-3""#, "n"),
            ("UTC", noon, r#"operation="gt" start="20261201""#, "y"),
            ("UTC", noon, r#"operation="gt" start="20261201T1130""#, "y"),
            ("UTC", noon, r#"operation="gt" start="20261201T1230""#, "n"),
            ("UTC", noon, r#"operation="gt" start="epoch""#, "y"),
            ("UTC", noon, r#"operation="gt" start="T11:00""#, "y"),
            ("UTC", noon, r#"operation="gt" start="13:00""#, "n"),
            (
                "UTC",
                noon,
                r#"operation="lt" end="2026-12-01T24:00:00Z""#,
                "y",
            ),
            ("UTC", noon, r#"start="2026-12-01T09:00:00Z""#, "y"),
            (
                "UTC",
                noon,
                r#"start="2026-12-01T12:00:00Z" end="2026-12-01T12:00:00Z""#,
                "y",
            ),
            ("UTC", noon, r#"start="2026-12-01T12:00:01Z""#, "n"),
            // No dates.
            ("UTC", noon, r#"operation="lt" end="tomorrow""#, "?"),
            ("UTC", noon, r#"operation="lt" end="2026-13-01""#, "?"),
            ("UTC", noon, r#"operation="lt" end="2026-12-01T25:00""#, "?"),
            ("UTC", noon, r#"operation="lt" end="2026-366""#, "?"),
            ("UTC", noon, r#"operation="lt" end="é€-01-01""#, "?"),
            (
                "UTC",
                noon,
                r#"operation="lt" end="9999-12-31T24:00 -25:00""#,
                "?",
            ),
            ("UTC", noon, r#"operation="lt" end="""#, "?"),
            ("UTC", noon, r#"operation="lt" start="2026-12-01""#, "?"),
            ("UTC", noon, r#"start="x" end="2027-01-01""#, "?"),
            ("UTC", noon, "", "?"),
        ] {
            let got = told(&clock(zone, now), expression, "");
            assert_eq!(got, expected, "{zone} {expression}");
        }
    }

    #[test]
    fn a_duration_ends_a_range_and_a_specification_is_of_the_local_time() {
        let range = r#"operation="in_range" start="#;
        let spec = r#"operation="date_spec""#;
        let noon = "2026-12-01T12:00:00Z";
        for (zone, now, expression, inside, expected) in [
            (
                "UTC",
                noon,
                format!("{range}'2026-12-01T11:00:00Z'"),
                r#"<duration hours="2"/>"#,
                "y",
            ),
            (
                "UTC",
                noon,
                format!("{range}'2026-12-01T09:00:00Z'"),
                r#"<duration hours="2"/>"#,
                "n",
            ),
            (
                "UTC",
                noon,
                format!("{range}'2026-10-31T12:00:00Z'"),
                r#"<duration months="1" days="1"/>"#,
                "y",
            ),
            (
                "UTC",
                noon,
                format!("{range}'2026-10-31T12:00:00Z'"),
                r#"<duration months="1"/>"#,
                "n",
            ),
            (
                "UTC",
                "2028-02-29T12:00:00Z",
                format!("{range}'2027-03-01'"),
                r#"<duration years="1"/>"#,
                "n",
            ),
            (
                "UTC",
                noon,
                format!("{range}'2026-01-01T00:00:00Z'"),
                r#"<duration years="3"/>"#,
                "y",
            ),
            (
                "UTC",
                noon,
                format!("{range}'2026-01-01T00:00:00Z'"),
                r#"<duration years="many"/>"#,
                "?",
            ),
            (
                "UTC",
                noon,
                format!("{range}'2026-01-01T00:00:00Z'"),
                r#"<duration weeks="2147483647"/>"#,
                "?",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="9-16" weekdays="1-5"/>"#,
                "y",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="9-16" weekdays="6-7"/>"#,
                "n",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="9-11"/>"#,
                "n",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="13-"/>"#,
                "n",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="-13"/>"#,
                "y",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec weeks="49" yeardays="335" weekyears="2026"/>"#,
                "y",
            ),
            ("UTC", noon, spec.to_owned(), "<date_spec/>", "y"),
            // By the source: crm_simulate -t takes the time as UTC.
            (
                "Asia/Tokyo",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="21"/>"#,
                "y",
            ),
            // What releases take differently.
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="x"/>"#,
                "?",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec hours="x" years="2020"/>"#,
                "n",
            ),
            (
                "UTC",
                noon,
                spec.to_owned(),
                r#"<date_spec moon="4"/>"#,
                "?",
            ),
            ("UTC", noon, spec.to_owned(), "", "?"),
        ] {
            let got = told(&clock(zone, now), &expression, inside);
            assert_eq!(got, expected, "{zone} {expression} {inside}");
        }
    }
}
