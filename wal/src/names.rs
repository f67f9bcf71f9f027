//! Names of log files, relative to the data directory.

use crate::group::{Generation, LogId};

/// Where file `number` of one log of one generation lives: `logs/0000000007-0003-000012.log`.
#[must_use]
pub fn log_file_name(generation: Generation, log: LogId, number: u32) -> String {
    format!("logs/{:010}-{:04}-{number:06}.log", generation.0, log.0)
}

/// The inverse of [`log_file_name`]; `None` for anything that it would not have written.
#[must_use]
pub fn parse_log_file_name(name: &str) -> Option<(Generation, LogId, u32)> {
    let stem = name.strip_prefix("logs/")?.strip_suffix(".log")?;
    let mut parts = stem.split('-');
    let generation = Generation(parts.next()?.parse().ok()?);
    let log = LogId(parts.next()?.parse().ok()?);
    let number = parts.next()?.parse().ok()?;
    (log_file_name(generation, log, number) == name).then_some((generation, log, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_in_the_order_of_writing_and_parse_back() {
        assert_eq!(log_file_name(Generation(7), LogId(3), 12), "logs/0000000007-0003-000012.log");
        for (generation, log, number) in
            [(0, 0, 0), (7, 3, 12), (u32::MAX, u16::MAX, u32::MAX), (1, 9_999, 1_000_000)]
        {
            let name = log_file_name(Generation(generation), LogId(log), number);
            assert_eq!(parse_log_file_name(&name), Some((Generation(generation), LogId(log), number)));
        }
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        for name in [
            "",
            "logs/",
            "logs/0000000007-0003-000012",
            "0000000007-0003-000012.log",
            "logs/7-3-12.log",
            "logs/0000000007-0003-000012-1.log",
            "logs/0000000007-0003-+00012.log",
            "logs/0000000007-0003-00001x.log",
            "logs/9999999999-0003-000012.log",
        ] {
            assert_eq!(parse_log_file_name(name), None, "{name}");
        }
    }
}
