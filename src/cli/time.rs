//! Points in time and lengths of time as people write them.

use std::time::Duration;

use ringmain_wire::ids::TimestampMs;

/// What a text that is no point in time is answered with.
const WANTED: &str =
    "expected milliseconds since 1970, RFC 3339 such as 2026-01-31T12:00:00Z, or an age such as -1h";
const SECOND_MS: i64 = 1000;
const DAY_MS: i64 = 86_400 * SECOND_MS;

/// Reads milliseconds since 1970, RFC 3339, or an age (`-90s`, `-30m`, `-1h`, `-2d`, `-1w`) before `now`.
///
/// # Errors
/// What would have been understood.
pub(super) fn parse_time(text: &str, now: TimestampMs) -> Result<TimestampMs, String> {
    let read = if let Some(age) = text.strip_prefix('-') {
        let age_ms =
            parse_duration(age).ok().filter(|_| age.ends_with(|last: char| last.is_ascii_alphabetic()));
        let age_ms = age_ms.and_then(|age| i64::try_from(age.as_millis()).ok());
        age_ms.map(|age_ms| now.get().saturating_sub(age_ms).max(0))
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        parse_rfc3339(text)
    };
    read.map(TimestampMs).ok_or_else(|| format!("{text:?} is not a time: {WANTED}"))
}

/// Reads a length of time: a number with `ms`, `s` (also where no unit is given), `m`, `h`, `d` or `w`.
///
/// # Errors
/// What would have been understood.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a length of time: expected a number with ms, s, m, h, d or w");
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 7.0 * 86_400.0,
        _ => return Err(wrong()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(wrong());
    }
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    // A century is more than any wait and less than any overflow.
    let length = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if length.as_secs() > 100 * 366 * 86_400 { Err(wrong()) } else { Ok(length) }
}

/// Milliseconds since 1970 of a date and time of RFC 3339 (section 5.6); a leap second counts as the next second.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize| -> Option<i64> {
        let field = bytes.get(from..from + count)?;
        let value = field.iter().try_fold(0, |value: i64, byte| {
            byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
        })?;
        Some(value)
    };
    let within = |value: i64, from: i64, to: i64| (from..=to).contains(&value).then_some(value);
    let separated = bytes.len() >= 20
        && [(4, b"--"), (7, b"--"), (10, b"Tt"), (13, b"::"), (16, b"::")]
            .into_iter()
            .all(|(place, wanted)| wanted.contains(&bytes[place]) || (place == 10 && bytes[place] == b' '));
    if !separated {
        return None;
    }
    let (year, month) = (digits(0, 4)?, within(digits(5, 2)?, 1, 12)?);
    let day = within(digits(8, 2)?, 1, days_of_month(year, month))?;
    let (hour, minute) = (within(digits(11, 2)?, 0, 23)?, within(digits(14, 2)?, 0, 59)?);
    let second = within(digits(17, 2)?, 0, 60)?;

    let mut rest = &bytes[19..];
    let mut millisecond = 0;
    if let [b'.', fraction @ ..] = rest {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        let place = |index: usize| i64::from(fraction[..length].get(index).map_or(0, |byte| byte - b'0'));
        millisecond = place(0) * 100 + place(1) * 10 + place(2);
        rest = &fraction[length..];
    }
    let zone_minutes = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let from = bytes.len() - 5;
            let minutes = within(digits(from, 2)?, 0, 23)? * 60 + within(digits(from + 3, 2)?, 0, 59)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let minutes = hour * 60 + minute - zone_minutes;
    Some(days_since_1970(year, month, day) * DAY_MS + (minutes * 60 + second) * SECOND_MS + millisecond)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1 January 1970 in the Gregorian calendar, with years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn read(text: &str) -> Option<i64> {
        parse_time(text, NOW).ok().map(TimestampMs::get)
    }

    #[test]
    fn points_in_time_are_read_in_all_three_forms() {
        assert_eq!(read("1700000000123"), Some(1_700_000_000_123));
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(read("2023-11-14T23:13:20.1239+01:00"), Some(1_700_000_000_123));
        assert_eq!(read("2023-11-14 18:43:20.5-03:30"), Some(1_700_000_000_500));
        assert_eq!(read("2000-02-29t00:00:00z"), Some(951_782_400_000));
        assert_eq!(read("-1h"), Some(NOW.get() - 3_600_000));
        assert_eq!(read("-2d"), Some(NOW.get() - 172_800_000));
        assert_eq!(read("-500ms"), Some(NOW.get() - 500));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let wrong = [
            "",
            "-",
            "-1",
            "-h",
            "now",
            "1h",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+1:00",
            "2023-11-14T22:13:20Zx",
            "99999999999999999999",
            "2023-11-14T22:13:20\u{e4}",
        ];
        for text in wrong {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_calendar_agrees_with_counting_days() {
        let mut days = -719_162;
        for year in 1..=2400 {
            for month in 1..=12 {
                for day in 1..=days_of_month(year, month) {
                    assert_eq!(days_since_1970(year, month, day), days, "{year}-{month}-{day}");
                    days += 1;
                }
            }
        }
    }

    #[test]
    fn lengths_of_time_need_no_unit_for_seconds() {
        assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "-1", "1y", "1e3", "inf", "NaN", "1 s", "99999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
