//! Changes of metadata, as the metadata log holds them.

use ringmain_wire::ids::{ProducerId, TopicId};
use ringmain_wire::native::messages::ConfigEntry;
use rkyv::rancor::Error as ArchiveError;
use rkyv::{Archive, Deserialize, Serialize};

/// One decided change. The order of its variants and fields is its format in the metadata log: new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Change {
    /// A topic comes into being.
    CreateTopic {
        /// Its id.
        id: TopicId,
        /// Its name.
        name: String,
        /// Partitions.
        partitions: u32,
        /// Replicas a partition.
        replication_factor: u16,
        /// Settings that differ from the defaults.
        configs: Vec<ConfigEntry>,
    },
    /// Its settings become these.
    AlterTopic {
        /// The topic.
        id: TopicId,
        /// All settings that differ from the defaults.
        configs: Vec<ConfigEntry>,
    },
    /// It has that many partitions from now on.
    AddPartitions {
        /// The topic.
        id: TopicId,
        /// Partitions.
        partitions: u32,
    },
    /// It is gone, and its id for ever.
    DeleteTopic {
        /// The topic.
        id: TopicId,
    },
    /// Producer ids below this one have been handed out.
    ProducerIds {
        /// The next one.
        next: ProducerId,
    },
}

/// First byte of a change in the metadata log.
const CHANGE_VERSION: u8 = 1;

/// A record of the metadata log that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadableChange {
    /// Written by another version.
    Version(u8),
    /// Not a change.
    Malformed,
}

impl core::fmt::Display for UnreadableChange {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(version) => {
                write!(out, "a metadata record of version {version}, not {CHANGE_VERSION}")
            }
            Self::Malformed => out.write_str("a malformed metadata record"),
        }
    }
}

impl core::error::Error for UnreadableChange {}

impl Change {
    /// As a record's value.
    pub fn encode(&self) -> Vec<u8> {
        let body = rkyv::to_bytes::<ArchiveError>(self).expect("a change is plain data and memory is there");
        let mut value = Vec::with_capacity(1 + body.len());
        value.push(CHANGE_VERSION);
        value.extend_from_slice(&body);
        value
    }

    /// The inverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// When the value is not one of this version's.
    pub fn decode(value: &[u8]) -> Result<Self, UnreadableChange> {
        match value.split_first() {
            Some((&CHANGE_VERSION, body)) => {
                rkyv::from_bytes::<Self, ArchiveError>(body).map_err(|_| UnreadableChange::Malformed)
            }
            Some((&version, _)) => Err(UnreadableChange::Version(version)),
            None => Err(UnreadableChange::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_survive_the_log_and_damage_is_told() {
        for change in [
            Change::CreateTopic {
                id: TopicId([1; 16]),
                name: "orders".to_owned(),
                partitions: 3,
                replication_factor: 1,
                configs: vec![ConfigEntry { key: "max.message.bytes".into(), value: "2000".into() }],
            },
            Change::AddPartitions { id: TopicId([1; 16]), partitions: 5 },
            Change::DeleteTopic { id: TopicId([1; 16]) },
            Change::ProducerIds { next: ProducerId(2_000) },
        ] {
            let value = change.encode();
            assert_eq!(Change::decode(&value), Ok(change));
            assert_eq!(Change::decode(&value[..value.len() - 1]), Err(UnreadableChange::Malformed));
        }
        assert_eq!(Change::decode(&[9, 1]), Err(UnreadableChange::Version(9)));
        assert_eq!(Change::decode(&[]), Err(UnreadableChange::Malformed));
    }
}
