//! Topic settings under Kafka's own keys: which have an effect, and what they take.

use ringmain_wire::native::messages::ConfigEntry;

/// Default of `max.message.bytes`, Kafka's own.
pub const MAX_MESSAGE_BYTES_DEFAULT: u32 = 1_048_588;

/// Largest `max.message.bytes`: what one log entry takes.
pub const MAX_MESSAGE_BYTES_LIMIT: u32 = 16 * 1024 * 1024;

/// Kafka's topic keys that have no effect in this version.
const WITHOUT_EFFECT: &[&str] = &[
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

/// Says why a setting is not taken.
///
/// # Errors
/// The reason, for people: an unknown key, a key without effect, or a value out of bounds.
pub fn check(entry: &ConfigEntry) -> Result<(), String> {
    let ConfigEntry { key, value } = entry;
    if key == "max.message.bytes" {
        return match value.parse::<u32>().ok().filter(|bytes| bytes.to_string() == *value) {
            Some(bytes) if (1..=MAX_MESSAGE_BYTES_LIMIT).contains(&bytes) => Ok(()),
            _ => Err(format!(
                "max.message.bytes is a number from 1 to {MAX_MESSAGE_BYTES_LIMIT}, not {value:?}"
            )),
        };
    }
    if WITHOUT_EFFECT.contains(&key.as_str()) {
        return Err(format!("{key} has no effect in this version; leave it out"));
    }
    Err(format!("{key:?} is not a topic setting; this version has max.message.bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> ConfigEntry {
        ConfigEntry { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn only_settings_with_an_effect_are_taken() {
        assert_eq!(check(&entry("max.message.bytes", "1000")), Ok(()));
        assert!(check(&entry("max.message.bytes", "-1")).unwrap_err().contains("\"-1\""));
        assert!(check(&entry("retention.ms", "1000")).unwrap_err().contains("no effect"));
        assert!(check(&entry("retention", "1000")).unwrap_err().contains("not a topic setting"));
    }
}
