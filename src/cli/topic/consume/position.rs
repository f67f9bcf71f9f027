//! `--from` and `--to`.

use ringmain_client::driver::Start;
use ringmain_wire::ids::{Offset, TimestampMs};

use crate::cli::clock;
use crate::cli::time::parse_time;

/// Where reading begins in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct From(pub(super) Start);

/// Before what reading stops in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// The end as it is when the command starts.
    End,
    /// That offset, which may be still to come.
    Offset(Offset),
    /// The first record that is not older, or the end.
    Time(TimestampMs),
}

impl From {
    /// Reads `start`, `end`, an offset, `-N` or `@TIME`.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_at(text, clock::now())
    }

    fn parse_at(text: &str, now: TimestampMs) -> Result<Self, String> {
        let start = match text {
            "start" => Start::Beginning,
            "end" => Start::End,
            _ => {
                if let Some(time) = text.strip_prefix('@') {
                    Start::Time(parse_time(time, now)?)
                } else if let Some(count) = text.strip_prefix('-').and_then(parse_count) {
                    Start::Tail(count.unsigned_abs())
                } else if let Some(offset) = parse_count(text) {
                    Start::Offset(Offset(offset))
                } else {
                    return Err("expected start, end, an offset, -N or @TIME".to_owned());
                }
            }
        };
        Ok(Self(start))
    }
}

impl To {
    /// Reads `end`, an offset or `@TIME`.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_at(text, clock::now())
    }

    fn parse_at(text: &str, now: TimestampMs) -> Result<Self, String> {
        if text == "end" {
            Ok(Self::End)
        } else if let Some(time) = text.strip_prefix('@') {
            parse_time(time, now).map(Self::Time)
        } else if let Some(offset) = parse_count(text) {
            Ok(Self::Offset(Offset(offset)))
        } else {
            Err("expected end, an offset or @TIME".to_owned())
        }
    }

    /// The same as the client asks for it.
    pub(super) const fn as_start(self) -> Start {
        match self {
            Self::End => Start::End,
            Self::Offset(offset) => Start::Offset(offset),
            Self::Time(time) => Start::Time(time),
        }
    }
}

/// A number without a sign.
fn parse_count(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(10_000_000);

    #[test]
    fn a_beginning_is_read_in_every_form() {
        let read = |text| From::parse_at(text, NOW).map(|From(start)| start);
        assert_eq!(read("start"), Ok(Start::Beginning));
        assert_eq!(read("end"), Ok(Start::End));
        assert_eq!(read("0"), Ok(Start::Offset(Offset(0))));
        assert_eq!(read("-10"), Ok(Start::Tail(10)));
        assert_eq!(read("@5"), Ok(Start::Time(TimestampMs(5))));
        assert_eq!(read("@-1h"), Ok(Start::Time(TimestampMs(6_400_000))));
        for wrong in ["", "-", "-1h", "+1", "1.5", "begin", "@", "@soon", "99999999999999999999"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_end_has_no_distance_from_the_end() {
        let read = |text| To::parse_at(text, NOW);
        assert_eq!(read("end"), Ok(To::End));
        assert_eq!(read("7"), Ok(To::Offset(Offset(7))));
        assert_eq!(read("@1970-01-01T00:00:01Z"), Ok(To::Time(TimestampMs(1000))));
        for wrong in ["start", "-1", "", "@"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
