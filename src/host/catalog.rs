//! The topics of the cluster: a state machine over the changes that the metadata log holds.
//!
//! Every shard keeps a copy and applies the same changes in the same order; only the [controller](super::controller)
//! decides on them. View: cluster, as far as this shard has heard.

use std::collections::BTreeMap;

use ringmain_wire::ids::{PartitionId, PartitionIndex, ProducerId, TopicId};
use ringmain_wire::native::messages::ConfigEntry;

pub use super::change::{Change, UnreadableChange};
use super::config::TopicSettings;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// Partitions.
    pub partitions: u32,
    /// Replicas a partition.
    pub replication_factor: u16,
    /// Settings that differ from the defaults, by Kafka's key.
    pub configs: BTreeMap<String, String>,
    /// What they mean: read when they change, because every batch asks for them.
    settings: TopicSettings,
}

impl Topic {
    /// Its partitions by index.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        let id = self.id;
        (0..self.partitions).map(move |index| PartitionId::new(id, PartitionIndex(index)))
    }

    /// What its settings mean.
    pub const fn settings(&self) -> TopicSettings {
        self.settings
    }

    /// Largest batch it takes, in bytes (`max.message.bytes`).
    pub const fn batch_bytes_max(&self) -> u32 {
        self.settings.max_message_bytes
    }

    fn configure(&mut self, configs: &[ConfigEntry]) {
        self.configs = configs.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        self.settings = TopicSettings::of(&self.configs);
    }
}

/// What a change means for partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionChanges {
    /// Come into being.
    pub created: Vec<PartitionId>,
    /// Are gone.
    pub removed: Vec<PartitionId>,
}

/// All topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    topics: BTreeMap<TopicId, Topic>,
    names: BTreeMap<String, TopicId>,
    producer_next: i64,
}

impl Catalog {
    /// A topic by its name.
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.topics.get(self.names.get(name)?)
    }

    /// A topic by its id.
    pub fn by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// The topic of a partition that exists.
    pub fn topic_of(&self, partition: PartitionId) -> Option<&Topic> {
        self.by_id(partition.topic).filter(|topic| partition.index.get() < topic.partitions)
    }

    /// All topics by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// The first producer id that has not been handed out.
    pub fn producer_next(&self) -> ProducerId {
        ProducerId(self.producer_next)
    }

    /// Applies a decided change. Changes to a topic that is gone mean nothing.
    pub fn apply(&mut self, change: &Change) -> PartitionChanges {
        let mut changes = PartitionChanges::default();
        match change {
            Change::CreateTopic { id, name, partitions, replication_factor, configs } => {
                let mut topic = Topic {
                    name: name.clone(),
                    id: *id,
                    partitions: *partitions,
                    replication_factor: *replication_factor,
                    configs: BTreeMap::new(),
                    settings: TopicSettings::default(),
                };
                topic.configure(configs);
                changes.created = topic.partition_ids().collect();
                self.names.insert(name.clone(), *id);
                self.topics.insert(*id, topic);
            }
            Change::AlterTopic { id, configs } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    topic.configure(configs);
                }
            }
            Change::AddPartitions { id, partitions } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    let before = topic.partitions as usize;
                    topic.partitions = topic.partitions.max(*partitions);
                    changes.created = topic.partition_ids().skip(before).collect();
                }
            }
            Change::DeleteTopic { id } => {
                if let Some(topic) = self.topics.remove(id) {
                    self.names.remove(&topic.name);
                    changes.removed = topic.partition_ids().collect();
                }
            }
            Change::ProducerIds { next } => self.producer_next = self.producer_next.max(next.get()),
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(id: u8, name: &str, partitions: u32) -> Change {
        Change::CreateTopic {
            id: TopicId([id; 16]),
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            configs: vec![ConfigEntry { key: "max.message.bytes".into(), value: "2000".into() }],
        }
    }

    #[test]
    fn a_deleted_topic_is_gone_and_its_name_free_for_another_id() {
        let mut catalog = Catalog::default();
        assert_eq!(catalog.apply(&create(1, "orders", 3)).created.len(), 3);
        assert_eq!(
            catalog.apply(&Change::AddPartitions { id: TopicId([1; 16]), partitions: 5 }).created.len(),
            2
        );
        assert_eq!(catalog.apply(&Change::DeleteTopic { id: TopicId([1; 16]) }).removed.len(), 5);
        assert!(catalog.by_name("orders").is_none());
        catalog.apply(&create(2, "orders", 1));
        assert_eq!(catalog.by_name("orders").map(|topic| topic.id), Some(TopicId([2; 16])));
        let late = catalog.apply(&Change::AddPartitions { id: TopicId([1; 16]), partitions: 9 });
        assert_eq!(late, PartitionChanges::default());
    }

    #[test]
    fn the_settings_follow_every_change() {
        let mut catalog = Catalog::default();
        catalog.apply(&create(1, "orders", 1));
        let settings = |catalog: &Catalog| catalog.by_name("orders").map(Topic::settings);
        let set = TopicSettings { max_message_bytes: 2000, ..TopicSettings::default() };
        assert_eq!(settings(&catalog), Some(set));
        assert_eq!(catalog.topics().next().map(Topic::batch_bytes_max), Some(2000));
        catalog.apply(&Change::AlterTopic { id: TopicId([1; 16]), configs: Vec::new() });
        assert_eq!(settings(&catalog), Some(TopicSettings::default()));
    }
}
