//! Every setting of a broker: its name in the file, its flag, its unit, its default, and how it is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::size::parse_size;
use crate::cli::time::parse_duration;

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Key {
    /// Section and name, as in `storage.log_size`.
    pub(in crate::cli) name: &'static str,
    /// The flag of `serve` that sets it.
    pub(in crate::cli) flag: &'static str,
    /// In what it is given.
    pub(in crate::cli) unit: &'static str,
    /// What it is where nobody sets it.
    pub(in crate::cli) default: &'static str,
    /// What it decides, in a few words.
    pub(in crate::cli) what: &'static str,
    /// Whether a text is one of its values.
    pub(in crate::cli) check: fn(&str) -> Result<(), String>,
}

/// All of them, by section.
pub(in crate::cli) const KEYS: &[Key] = &[
    Key {
        name: "node.id",
        flag: "--node-id",
        unit: "number",
        default: "1",
        what: "number of this node in its cluster",
        check: |text| parse_number::<u32>(text).map(drop),
    },
    Key {
        name: "node.data_dir",
        flag: "--data-dir",
        unit: "path",
        default: "./ringmain-data",
        what: "where the data lives",
        check: |text| parse_path(text).map(drop),
    },
    Key {
        name: "node.shards",
        flag: "--shards",
        unit: "threads or auto",
        default: "auto",
        what: "shards; auto is one for each core",
        check: |text| parse_auto(text, parse_shards).map(drop),
    },
    Key {
        name: "node.pin",
        flag: "--no-pin",
        unit: "true or false",
        default: "true",
        what: "whether each shard keeps to a core",
        check: |text| parse_bool(text).map(drop),
    },
    Key {
        name: "node.spin",
        flag: "--spin",
        unit: "microseconds or off",
        default: "off",
        what: "how long a shard looks for work before it sleeps",
        check: |text| parse_spin(text).map(drop),
    },
    Key {
        name: "node.peers",
        flag: "--peers",
        unit: "ID@ADDR,…",
        default: "",
        what: "the other nodes (not used in this version)",
        check: |_| Ok(()),
    },
    Key {
        name: "listen.native",
        flag: "--native",
        unit: "address",
        default: "127.0.0.1:7092",
        what: "where native clients connect",
        check: |text| parse_address(text).map(drop),
    },
    Key {
        name: "listen.native_shards",
        flag: "--native-shards",
        unit: "port, 0 or auto",
        default: "auto",
        what: "shard i also listens on this port plus i; 0 takes any",
        check: |text| parse_auto(text, parse_number::<u16>).map(drop),
    },
    Key {
        name: "listen.kafka",
        flag: "--kafka",
        unit: "address",
        default: "",
        what: "where Kafka clients connect (nothing listens there in this version)",
        check: |_| Ok(()),
    },
    Key {
        name: "listen.http",
        flag: "--http",
        unit: "address",
        default: "",
        what: "where HTTP clients connect (nothing listens there in this version)",
        check: |_| Ok(()),
    },
    Key {
        name: "listen.rpc",
        flag: "--rpc",
        unit: "address",
        default: "",
        what: "where other nodes connect (nothing listens there in this version)",
        check: |_| Ok(()),
    },
    Key {
        name: "storage.memory",
        flag: "--memory",
        unit: "bytes or auto",
        default: "auto",
        what: "memory of each shard for records; auto is a part of what is free",
        check: |text| parse_auto(text, parse_size).map(drop),
    },
    Key {
        name: "storage.log_size",
        flag: "--log-size",
        unit: "bytes",
        default: "1GiB",
        what: "log of each shard",
        check: |text| parse_size(text).map(drop),
    },
    Key {
        name: "storage.scrub_rate",
        flag: "--scrub-rate",
        unit: "bytes a second",
        default: "16MiB",
        what: "how fast each shard reads its segments to find rot",
        check: |text| parse_size(text).map(drop),
    },
    Key {
        name: "storage.scrub_every",
        flag: "--scrub-every",
        unit: "time or off",
        default: "1d",
        what: "how often it reads all of them",
        check: |text| parse_period(text).map(drop),
    },
];

impl Key {
    /// The variable of the environment that sets it.
    pub(in crate::cli) fn variable(&self) -> String {
        format!("RINGMAIN_{}", self.name.replace('.', "__").to_uppercase())
    }
}

/// The setting of that name.
pub(in crate::cli) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The one of `names` that somebody may have meant who wrote `name`.
pub(in crate::cli) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    /// Below this two names have hardly anything in common.
    const ALIKE_MIN: f64 = 0.8;
    let alike = names.map(|known| (strsim::jaro_winkler(name, &known), known));
    alike.filter(|(alike, _)| *alike > ALIKE_MIN).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// How often something is done; never where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Period(pub(in crate::cli) Option<Duration>);

/// Smallest period: less would be nothing else.
const PERIOD_MIN: Duration = Duration::from_secs(60);

/// `off`, or a length of time of a minute or more.
pub(in crate::cli) fn parse_period(text: &str) -> Result<Period, String> {
    if text == "off" {
        return Ok(Period(None));
    }
    match parse_duration(text)? {
        often if often < PERIOD_MIN => Err("expected off, or a minute or more".to_owned()),
        every => Ok(Period(Some(every))),
    }
}

/// `off` or microseconds.
pub(in crate::cli) fn parse_spin(text: &str) -> Result<Duration, String> {
    /// More would be a core that never sleeps.
    const MICROSECONDS_MAX: u64 = 1_000_000;
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    match text.parse() {
        Ok(microseconds @ 0..=MICROSECONDS_MAX) => Ok(Duration::from_micros(microseconds)),
        _ => Err(format!("expected off, or microseconds up to {MICROSECONDS_MAX}")),
    }
}

/// None for `auto`.
pub(in crate::cli) fn parse_auto<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == "auto" { Ok(None) } else { parse(text).map(Some) }
}

/// A number of shards.
pub(in crate::cli) fn parse_shards(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(shards @ 1..=1024) => Ok(shards),
        _ => Err("expected a number from 1 to 1024".to_owned()),
    }
}

/// A whole number.
pub(in crate::cli) fn parse_number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| "expected a whole number, and not that large".to_owned())
}

/// `true` or `false`.
pub(in crate::cli) fn parse_bool(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "expected true or false".to_owned())
}

/// An address with its port.
pub(in crate::cli) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address and a port, as in 127.0.0.1:7092".to_owned())
}

/// A path.
pub(in crate::cli) fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(PathBuf::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_read_and_names_are_in_order() {
        for key in KEYS {
            assert_eq!((key.check)(key.default), Ok(()), "{}", key.name);
            assert!(key.name.split('.').count() == 2 && key.flag.starts_with("--"), "{}", key.name);
        }
        let sections = |name: &'static str| KEYS.iter().position(|key| key.name.starts_with(name));
        assert!(sections("node.") < sections("listen.") && sections("listen.") < sections("storage."));
    }

    #[test]
    fn variables_have_two_underscores_between_section_and_name() {
        assert_eq!(find("storage.log_size").unwrap().variable(), "RINGMAIN_STORAGE__LOG_SIZE");
    }

    #[test]
    fn a_typo_is_answered_with_what_may_be_meant() {
        let names = || KEYS.iter().map(|key| key.name.to_owned());
        assert_eq!(nearest("storage.logsize", names()).as_deref(), Some("storage.log_size"));
        assert_eq!(nearest("weather", names()), None);
    }

    #[test]
    fn spin_is_off_or_microseconds() {
        assert_eq!(parse_spin("off"), Ok(Duration::ZERO));
        assert_eq!(parse_spin("250"), Ok(Duration::from_micros(250)));
        assert!(parse_spin("-1").is_err() && parse_spin("on").is_err() && parse_spin("1000001").is_err());
    }

    #[test]
    fn numbers_are_whole_and_fit() {
        assert_eq!(parse_number::<u16>("65535"), Ok(u16::MAX));
        assert!(parse_number::<u16>("65536").is_err() && parse_number::<u32>("1.5").is_err());
        assert_eq!(parse_auto("auto", parse_shards), Ok(None));
        assert_eq!(parse_auto("2", parse_shards), Ok(Some(2)));
        assert!(parse_shards("0").is_err() && parse_shards("1025").is_err());
    }
}
