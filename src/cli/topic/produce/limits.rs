//! What a topic takes at once, and what to tell whoever sends more.

use ringmain_client::{ClientError, ProduceRecord};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::TopicDescription;

use crate::cli::failure::Failure;
use crate::host::config::{MAX_MESSAGE_BYTES_DEFAULT, MAX_MESSAGE_BYTES_LIMIT};

/// What a batch of one record takes besides key, value and headers, with room to spare.
const BATCH_OVERHEAD_BYTES: usize = 256;

/// `max.message.bytes` of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchLimit {
    bytes: u32,
}

impl BatchLimit {
    /// That of a topic.
    pub(super) fn of(topic: &TopicDescription) -> Self {
        let set = topic.configs.iter().find(|entry| entry.key == "max.message.bytes");
        let bytes = set.and_then(|entry| entry.value.parse().ok());
        Self { bytes: bytes.unwrap_or(MAX_MESSAGE_BYTES_DEFAULT) }
    }

    /// Bytes of records that fit a batch before compression.
    pub(super) const fn records_bytes_max(self) -> usize {
        (self.bytes as usize).saturating_sub(BATCH_OVERHEAD_BYTES)
    }

    /// Why a record of `bytes` could not be produced to `topic`; `number` says which of the input it is.
    pub(super) fn explain(self, topic: &str, number: u64, bytes: usize, error: ClientError) -> Failure {
        if error.code() != ErrorCode::MessageTooLarge {
            return error.into();
        }
        let message = format!(
            "record {number} has {bytes} bytes, too many for a batch of topic {topic}, whose max.message.bytes is {}",
            self.bytes
        );
        let failure = Failure::failed(error.code().name(), message);
        let enough = bytes.saturating_add(BATCH_OVERHEAD_BYTES);
        if enough > MAX_MESSAGE_BYTES_LIMIT as usize {
            return failure
                .hint(format!("no topic takes more than {MAX_MESSAGE_BYTES_LIMIT}; send it in parts"));
        }
        let enough = enough.max(self.bytes as usize);
        failure.hint(format!("raise it with: ringmain topic alter {topic} --set max.message.bytes={enough}"))
    }
}

/// Length of a record: key, value and headers.
pub(super) fn record_bytes(record: &ProduceRecord<'_>) -> usize {
    let field = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(|&(name, value)| name.len() + field(value)).sum();
    field(record.key) + field(record.value) + headers
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::TimestampMs;
    use ringmain_wire::native::messages::ConfigEntry;

    use super::*;

    fn too_large() -> ClientError {
        let message = "batch of 3000061 bytes, at most 2000 are allowed".to_owned();
        ClientError::Refused { code: ErrorCode::MessageTooLarge, message }
    }

    #[test]
    fn the_limit_is_the_topics_or_the_default() {
        let mut topic = TopicDescription::default();
        assert_eq!(BatchLimit::of(&topic), BatchLimit { bytes: MAX_MESSAGE_BYTES_DEFAULT });
        topic.configs.push(ConfigEntry { key: "max.message.bytes".to_owned(), value: "2000".to_owned() });
        assert_eq!(BatchLimit::of(&topic), BatchLimit { bytes: 2000 });
        assert_eq!(BatchLimit { bytes: 1 }.records_bytes_max(), 0);
    }

    #[test]
    fn a_record_that_is_too_large_is_named_with_the_limit_and_how_to_raise_it() {
        let limit = BatchLimit { bytes: 2000 };
        let told = Failure::failed(
            "message_too_large",
            "record 7 has 3000000 bytes, too many for a batch of topic orders, whose max.message.bytes is 2000",
        );
        let told = told.hint("raise it with: ringmain topic alter orders --set max.message.bytes=3000256");
        assert_eq!(limit.explain("orders", 7, 3_000_000, too_large()), told);
        let told = Failure::failed(
            "message_too_large",
            "record 1 has 16777216 bytes, too many for a batch of topic orders, whose max.message.bytes is 2000",
        );
        let told = told.hint("no topic takes more than 16777216; send it in parts");
        assert_eq!(limit.explain("orders", 1, 16_777_216, too_large()), told);
        let other = ClientError::OrderBroken;
        assert_eq!(limit.explain("orders", 1, 1, other.clone()), Failure::from(other));
    }

    #[test]
    fn a_record_is_as_long_as_all_its_bytes() {
        let record = ProduceRecord {
            partition: None,
            timestamp: TimestampMs(1),
            key: Some(b"ab"),
            value: None,
            headers: &[(b"name", Some(b"v")), (b"n", None)],
        };
        assert_eq!(record_bytes(&record), 8);
    }
}
