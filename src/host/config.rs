//! Topic settings under Kafka's own keys: which have an effect, what they take, and what they mean to the data path.

mod known_keys;
mod nearest;

use std::collections::BTreeMap;

use ringmain_wal::commit::FlushBound;
use ringmain_wire::batch::TimestampType;
use ringmain_wire::native::messages::ConfigEntry;

use known_keys::{FOREIGN_KEYS, SETTINGS, Setting};
use nearest::nearest;

/// Default of `max.message.bytes`, Kafka's own.
pub const MAX_MESSAGE_BYTES_DEFAULT: u32 = 1_048_588;

/// Largest `max.message.bytes`: what one log entry takes.
pub const MAX_MESSAGE_BYTES_LIMIT: u32 = 16 * 1024 * 1024;

/// Smallest `segment.bytes`: smaller files would cost more in names and syncs than their records.
pub const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;

/// Settings that change what a broker does. The others are refused by name: a setting that is taken and ignored would be
/// a promise not kept.
const KEYS_WITH_EFFECT: &[&str] = &[
    "cleanup.policy",
    "compression.type",
    "flush.messages",
    "flush.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

/// Longest key that a message repeats, or that is compared with the known ones: a key can be as long as a request.
const KEY_BYTES_TOLD_MAX: usize = 64;

/// What a topic's settings mean. Defaults are Kafka's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Largest batch, in bytes (`max.message.bytes`).
    pub max_message_bytes: u32,
    /// Age in milliseconds at which records may go (`retention.ms`); `None` keeps them for ever.
    pub retention_ms: Option<u64>,
    /// Bytes of a partition beyond which its oldest records may go (`retention.bytes`); `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// Bytes at which a segment is sealed (`segment.bytes`).
    pub segment_bytes: u64,
    /// Age in milliseconds at which a segment is sealed (`segment.ms`).
    pub segment_ms: u64,
    /// Whose clock gives records their time (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// So many records are synced (`flush.messages`).
    pub flush_messages: u64,
    /// Milliseconds after which records are synced (`flush.ms`).
    pub flush_ms: u64,
}

/// The value of `flush.messages` and `flush.ms` that says nothing.
const FLUSH_UNSET: u64 = i64::MAX.unsigned_abs();
/// What `flush.ms` is taken for where only `flush.messages` is set: few records do not wait for ever.
const FLUSH_MS_WITH_MESSAGES: u64 = 1_000;

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT,
            retention_ms: Some(604_800_000),
            retention_bytes: None,
            segment_bytes: 1_073_741_824,
            segment_ms: 604_800_000,
            timestamp_type: TimestampType::CreateTime,
            flush_messages: FLUSH_UNSET,
            flush_ms: FLUSH_UNSET,
        }
    }
}

impl TopicSettings {
    /// The meaning of settings by Kafka's key. Each was [checked](check) before it was decided; one that this version
    /// cannot read is another version's, and counts as not set.
    pub fn of(configs: &BTreeMap<String, String>) -> Self {
        let mut settings = Self::default();
        for (key, value) in configs {
            if let Some(known) = find(key) {
                // What cannot be read changes nothing.
                let _ = (known.read)(&mut settings, value);
            }
        }
        settings
    }

    /// What of acknowledged records may wait for a sync; `None`: nothing, which is the default. Kafka's default is to wait
    /// for ever.
    #[must_use]
    pub fn flush(&self) -> Option<FlushBound> {
        let Self { flush_messages, flush_ms, .. } = *self;
        if flush_messages == 1 || flush_ms == 0 || flush_messages.min(flush_ms) == FLUSH_UNSET {
            return None;
        }
        let within_ms = if flush_ms == FLUSH_UNSET { FLUSH_MS_WITH_MESSAGES } else { flush_ms };
        Some(FlushBound { records: flush_messages, within_ns: within_ms.saturating_mul(1_000_000) })
    }

    /// What an acknowledgement means, for people.
    #[must_use]
    pub fn durability(&self) -> String {
        let Some(FlushBound { records, within_ns }) = self.flush() else {
            return "synced before acknowledged".to_owned();
        };
        let ms = within_ns / 1_000_000;
        let records = if records == FLUSH_UNSET { "all".to_owned() } else { format!("fewer than {records}") };
        format!("written before acknowledged, a loss of power takes {records} records of the last {ms} ms")
    }
}

/// Whether a setting is taken.
///
/// # Errors
/// The reason and behind a semicolon the remedy, for people: an unknown key, a key without effect, or a value out of
/// bounds.
pub fn check(entry: &ConfigEntry) -> Result<(), String> {
    let setting = with_effect(&entry.key)?;
    check_value(setting, &entry.value)
}

/// Whether a setting can be put back to its default.
///
/// # Errors
/// As those of [`check`] for the key.
pub fn check_key(key: &str) -> Result<(), String> {
    with_effect(key).map(drop)
}

fn with_effect(key: &str) -> Result<&'static Setting, String> {
    match find(key) {
        Some(setting) if KEYS_WITH_EFFECT.contains(&key) => Ok(setting),
        Some(_) => Err(without_effect(key)),
        None if FOREIGN_KEYS.contains(&key) => Err(without_effect(key)),
        None => Err(unknown(key)),
    }
}

fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn check_value(setting: &Setting, value: &str) -> Result<(), String> {
    (setting.read)(&mut TopicSettings::default(), value)
        .map_err(|refused| refused.describe(setting.key, &shortened(value)))
}

fn without_effect(key: &str) -> String {
    format!("{key} has no effect in this version; leave it out")
}

fn unknown(key: &str) -> String {
    let known = SETTINGS.iter().map(|setting| setting.key).chain(FOREIGN_KEYS.iter().copied());
    let meant = if key.len() <= KEY_BYTES_TOLD_MAX { nearest(key, known) } else { None };
    let remedy = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("this version has {}", KEYS_WITH_EFFECT.join(", ")),
    };
    format!("{:?} is not a topic setting; {remedy}", shortened(key))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(KEY_BYTES_TOLD_MAX) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> ConfigEntry {
        ConfigEntry { key: key.to_owned(), value: value.to_owned() }
    }

    /// Whether a value is sound, with or without effect.
    fn read(key: &str, value: &str) -> Result<TopicSettings, String> {
        check_value(find(key).expect("a known key"), value)?;
        Ok(TopicSettings::of(&BTreeMap::from([(key.to_owned(), value.to_owned())])))
    }

    #[test]
    fn only_settings_with_an_effect_are_taken() {
        assert_eq!(check(&entry("max.message.bytes", "1000")), Ok(()));
        assert_eq!(check(&entry("cleanup.policy", "delete")), Ok(()));
        assert_eq!(check(&entry("compression.type", "producer")), Ok(()));
        assert_eq!(check(&entry("message.timestamp.type", "LogAppendTime")), Ok(()));
        assert!(check(&entry("max.message.bytes", "-1")).unwrap_err().contains("\"-1\""));
        for key in ["min.insync.replicas", "unclean.leader.election.enable"] {
            assert_eq!(
                check(&entry(key, "1")),
                Err(format!("{key} has no effect in this version; leave it out"))
            );
        }
        for Setting { key, .. } in SETTINGS {
            assert_eq!(check_key(key).is_ok(), KEYS_WITH_EFFECT.contains(key), "{key}");
        }
        assert!(KEYS_WITH_EFFECT.iter().all(|key| find(key).is_some()));
    }

    #[test]
    fn an_unknown_key_is_answered_with_what_was_meant() {
        let message = |key: &str| check_key(key).unwrap_err();
        assert_eq!(message("retention"), "\"retention\" is not a topic setting; did you mean retention.ms?");
        assert!(message("message.max.bytes").ends_with("did you mean max.message.bytes?"));
        assert!(message("max_message_bytes").ends_with("did you mean max.message.bytes?"));
        assert!(message("cleanup.polcy").ends_with("did you mean cleanup.policy?"));
        let switched_on = KEYS_WITH_EFFECT.join(", ");
        assert_eq!(
            message("nope"),
            format!("\"nope\" is not a topic setting; this version has {switched_on}")
        );
        assert!(message(&"\u{e4}".repeat(1 << 20)).len() < 400);
    }

    #[test]
    fn records_wait_for_a_sync_only_where_a_bound_is_set() {
        let flush = |configs: &[(&str, &str)]| {
            let configs = configs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
            let settings = TopicSettings::of(&configs);
            let flush = settings.flush().map(|bound| (bound.records, bound.within_ns));
            (flush, settings.durability())
        };
        let synced = (None, "synced before acknowledged".to_owned());
        let unset = "9223372036854775807";
        for configs in [
            &[][..],
            &[("flush.messages", "1")],
            &[("flush.messages", "1"), ("flush.ms", "1000")],
            &[("flush.ms", "0")],
            &[("flush.messages", unset), ("flush.ms", unset)],
        ] {
            assert_eq!(flush(configs), synced, "{configs:?}");
        }
        let (bound, text) = flush(&[("flush.messages", "10000")]);
        assert_eq!(bound, Some((10_000, 1_000_000_000)));
        assert_eq!(
            text,
            "written before acknowledged, a loss of power takes fewer than 10000 records of the last 1000 ms"
        );
        let (bound, text) = flush(&[("flush.ms", "200")]);
        assert_eq!(bound, Some((FLUSH_UNSET, 200_000_000)));
        assert!(text.ends_with("takes all records of the last 200 ms"), "{text}");
        assert_eq!(flush(&[("flush.ms", "5"), ("flush.messages", "7")]).0, Some((7, 5_000_000)));
    }

    #[test]
    fn without_settings_everything_is_as_in_kafka() {
        let settings = TopicSettings::of(&BTreeMap::new());
        assert_eq!(settings, TopicSettings::default());
        for (key, value) in [
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("segment.bytes", "1073741824"),
            ("segment.ms", "604800000"),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.type", "CreateTime"),
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
            ("flush.messages", "9223372036854775807"),
            ("flush.ms", "9223372036854775807"),
        ] {
            assert_eq!(read(key, value), Ok(settings), "{key}");
        }
    }

    #[test]
    fn each_setting_reaches_its_field() {
        let default = TopicSettings::default();
        assert_eq!(read("retention.ms", "-1"), Ok(TopicSettings { retention_ms: None, ..default }));
        assert_eq!(read("retention.ms", "0"), Ok(TopicSettings { retention_ms: Some(0), ..default }));
        assert_eq!(read("retention.bytes", "5"), Ok(TopicSettings { retention_bytes: Some(5), ..default }));
        assert_eq!(
            read("segment.bytes", "1048576"),
            Ok(TopicSettings { segment_bytes: SEGMENT_BYTES_MIN, ..default })
        );
        assert_eq!(read("segment.ms", "1"), Ok(TopicSettings { segment_ms: 1, ..default }));
        assert_eq!(
            read("max.message.bytes", "2000"),
            Ok(TopicSettings { max_message_bytes: 2000, ..default })
        );
        let appended = TopicSettings { timestamp_type: TimestampType::LogAppendTime, ..default };
        assert_eq!(read("message.timestamp.type", "LogAppendTime"), Ok(appended));
        assert_eq!(read("flush.messages", "1"), Ok(TopicSettings { flush_messages: 1, ..default }));
        assert_eq!(read("flush.ms", "0"), Ok(TopicSettings { flush_ms: 0, ..default }));
    }

    #[test]
    fn a_bad_value_is_refused_with_what_is_allowed() {
        let message = |key, value| read(key, value).unwrap_err();
        assert_eq!(
            message("retention.ms", "1d"),
            "retention.ms is a number from 0 to 9223372036854775807, or -1 for no limit, not \"1d\""
        );
        assert_eq!(
            message("segment.bytes", "14"),
            "segment.bytes is a number from 1048576 (the least in this version) to 2147483647, not \"14\""
        );
        assert_eq!(
            message("segment.ms", "0"),
            "segment.ms is a number from 1 to 9223372036854775807, not \"0\""
        );
        assert_eq!(
            message("message.timestamp.type", "logappendtime"),
            "message.timestamp.type is CreateTime or LogAppendTime, not \"logappendtime\""
        );
        assert_eq!(
            message("cleanup.policy", "compact"),
            "cleanup.policy=compact is not in this version; use delete"
        );
        assert_eq!(
            message("cleanup.policy", "compact,delete"),
            "cleanup.policy=compact,delete is not in this version; use delete"
        );
        assert_eq!(message("cleanup.policy", "shred"), "cleanup.policy is delete, not \"shred\"");
        assert_eq!(
            message("compression.type", "zstd"),
            "compression.type=zstd is not in this version; use producer"
        );
        for (key, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "007"),
            ("retention.ms", "+7"),
            ("retention.bytes", ""),
            ("segment.bytes", "2147483648"),
            ("max.message.bytes", "0"),
            ("max.message.bytes", "16777217"),
            ("flush.messages", "0"),
            ("flush.ms", "9223372036854775808"),
        ] {
            assert!(read(key, value).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn what_another_version_stored_counts_as_not_set() {
        let configs = [("cleanup.policy", "compact"), ("segment.bytes", "1"), ("moon.phase", "full")];
        let configs = configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(TopicSettings::of(&configs), TopicSettings::default());
    }
}
