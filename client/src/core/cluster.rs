//! What the client knows of the cluster: where shards listen, which topics there are, who owns their partitions.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use ringmain_wire::ids::{PartitionId, PartitionIndex, ShardId, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{HelloResponse, MetadataResponse, TopicMetadata};

use crate::error::{ClientError, Fault};

/// Where to connect to: a host as the caller wrote it, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address, without the brackets of an IPv6 address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`; `port` stands in where none is given.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with [`ErrorCode::InvalidRequest`] when it is none of these.
    pub fn parse(text: &str, port: u16) -> Result<Self, ClientError> {
        let invalid = || ClientError::Refused {
            code: ErrorCode::InvalidRequest,
            message: format!(
                "{text:?} is not an address: expected HOST or HOST:PORT, such as 127.0.0.1:7092"
            ),
        };
        let (host, port_text) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(invalid)?;
                if after.is_empty() {
                    (host, None)
                } else {
                    (host, Some(after.strip_prefix(':').ok_or_else(invalid)?))
                }
            }
            None => match text.split_once(':') {
                // More than one colon without brackets: an IPv6 address without a port.
                Some((_, after)) if after.contains(':') => (text, None),
                Some((host, after)) => (host, Some(after)),
                None => (text, None),
            },
        };
        let port = match port_text {
            Some(digits) => digits.parse().map_err(|_| invalid())?,
            None => port,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// A topic as the client last heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; another one after it was deleted and created again.
    pub id: TopicId,
    /// The owner of each partition, by index.
    owners: Vec<ShardId>,
}

impl Topic {
    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        self.owners.len() as u32
    }
}

/// Metadata cache of one client. View: what one node said last.
#[derive(Debug)]
pub(crate) struct Cluster {
    bootstrap: Vec<Endpoint>,
    bootstrap_at: usize,
    /// Ports of the shards, for the host that was dialled when they were learnt.
    shards: BTreeMap<ShardId, Endpoint>,
    topics: BTreeMap<Arc<str>, Entry>,
    names: BTreeMap<TopicId, Arc<str>>,
    newly_wanted: bool,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Entry {
    topic: Option<Arc<Topic>>,
    /// Has to be asked for again.
    stale: bool,
    /// The answer to the last question, when it was no.
    refused: Option<ClientError>,
}

impl Cluster {
    /// Knows nothing but where to begin.
    ///
    /// # Panics
    /// When `bootstrap` is empty.
    pub(crate) fn new(bootstrap: Vec<Endpoint>) -> Self {
        assert!(!bootstrap.is_empty(), "no address to begin with");
        Self {
            bootstrap,
            bootstrap_at: 0,
            shards: BTreeMap::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            newly_wanted: false,
        }
    }

    /// The address whose turn it is.
    pub(crate) fn bootstrap(&self) -> &Endpoint {
        &self.bootstrap[self.bootstrap_at]
    }

    /// Where a shard listens, if the last shard map has it.
    pub(crate) fn shard(&self, shard: ShardId) -> Option<&Endpoint> {
        self.shards.get(&shard)
    }

    /// The topic of that name, if it is known to exist.
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name).and_then(|entry| entry.topic.as_ref())
    }

    /// The topic of that id, if it is known to exist.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topic(self.names.get(&id)?).filter(|topic| topic.id == id)
    }

    /// The shard that owns a partition, as far as known.
    pub(crate) fn owner(&self, partition: PartitionId) -> Option<ShardId> {
        self.topic_by_id(partition.topic)?.owners.get(partition.index.get() as usize).copied()
    }

    /// The topic of that name, or `None` after noting that it has to be asked for.
    ///
    /// # Errors
    /// When the broker said that there is none. Said once: the next call asks again.
    pub(crate) fn want(&mut self, name: &str) -> Result<Option<Arc<Topic>>, ClientError> {
        if !self.topics.contains_key(name) {
            self.topics.insert(Arc::from(name), Entry { stale: true, ..Entry::default() });
            self.newly_wanted = true;
        }
        let entry = self.topics.get_mut(name).expect("inserted above");
        if let Some(topic) = &entry.topic {
            return Ok(Some(Arc::clone(topic)));
        }
        match entry.refused.take() {
            Some(error) => {
                self.topics.remove(name);
                Err(error)
            }
            None => Ok(None),
        }
    }

    /// Whether what is known of that name is being asked for again.
    pub(crate) fn is_stale(&self, name: &str) -> bool {
        self.topics.get(name).is_some_and(|entry| entry.stale)
    }

    /// Whether a name came to be asked for since the last call.
    pub(crate) fn take_newly_wanted(&mut self) -> bool {
        core::mem::take(&mut self.newly_wanted)
    }

    /// Names that have to be asked for.
    pub(crate) fn stale(&self) -> Vec<String> {
        self.topics.iter().filter(|(_, entry)| entry.stale).map(|(name, _)| name.to_string()).collect()
    }

    /// The owner of a partition turned out to be another one.
    pub(crate) fn handle_wrong_owner(&mut self, topic: TopicId) {
        if let Some(entry) = self.names.get(&topic).and_then(|name| self.topics.get_mut(name)) {
            entry.stale = true;
        }
    }

    /// What is known of that name turned out to be outdated.
    pub(crate) fn handle_outdated(&mut self, name: &str) {
        if let Some(entry) = self.topics.get_mut(name) {
            entry.stale = true;
        }
    }

    /// A broker greeted us at `endpoint`. Behind it may be a restart with other shards: every topic is asked for again.
    pub(crate) fn handle_greeting(&mut self, endpoint: &Endpoint, hello: &HelloResponse) {
        self.shards = hello
            .shards
            .iter()
            .map(|at| (at.shard, Endpoint { host: endpoint.host.clone(), port: at.port }))
            .collect();
        self.handle_aged();
    }

    /// Everything that is known may be outdated.
    pub(crate) fn handle_aged(&mut self) {
        for entry in self.topics.values_mut() {
            entry.stale = true;
        }
    }

    /// The bootstrap address failed: the next one's turn. Returns whether all had theirs.
    pub(crate) fn handle_bootstrap_failed(&mut self) -> bool {
        self.bootstrap_at = (self.bootstrap_at + 1) % self.bootstrap.len();
        self.bootstrap_at == 0
    }

    /// Metadata arrived. Returns the topics that are gone, and why.
    pub(crate) fn handle_metadata(&mut self, metadata: MetadataResponse) -> Vec<(TopicId, ClientError)> {
        metadata.topics.into_iter().filter_map(|topic| self.handle_topic(&topic)).collect()
    }

    fn handle_topic(&mut self, metadata: &TopicMetadata) -> Option<(TopicId, ClientError)> {
        let name = Arc::clone(self.topics.get_key_value(metadata.name.as_str())?.0);
        let entry = self.topics.get_mut(&name)?;
        let refused = (metadata.error != 0).then(|| refusal(metadata));
        if refused.as_ref().is_some_and(|error| error.fault() == Fault::Retriable) {
            // Stays as it was, and stale.
            return None;
        }
        let known = entry.topic.take();
        entry.stale = false;
        entry.refused.clone_from(&refused);
        if refused.is_none() {
            let owners = metadata.partitions.iter().map(|partition| partition.shard).collect();
            self.names.insert(metadata.id, Arc::clone(&name));
            entry.topic = Some(Arc::new(Topic { name, id: metadata.id, owners }));
        }
        let gone = known.filter(|known| refused.is_some() || known.id != metadata.id)?;
        self.names.remove(&gone.id);
        let error = refused.unwrap_or_else(|| ClientError::Refused {
            code: ErrorCode::UnknownTopicOrPartition,
            message: format!("topic {:?} was deleted and created again", metadata.name),
        });
        Some((gone.id, error))
    }
}

impl Topic {
    /// The partition of that index.
    ///
    /// # Errors
    /// When the topic does not have as many.
    pub fn partition(&self, index: PartitionIndex) -> Result<PartitionId, ClientError> {
        if index.get() < self.partitions() {
            return Ok(PartitionId::new(self.id, index));
        }
        Err(ClientError::Refused {
            code: ErrorCode::UnknownTopicOrPartition,
            message: format!(
                "topic {:?} has no partition {index}: it has {}, counted from 0",
                self.name,
                self.partitions()
            ),
        })
    }
}

fn refusal(metadata: &TopicMetadata) -> ClientError {
    let message = if metadata.error == ErrorCode::UnknownTopicOrPartition.number() {
        let name = &metadata.name;
        format!("no topic {name:?}; create it with: ringmain topic create {name} --partitions N")
    } else {
        String::new()
    };
    ClientError::refused(metadata.error, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        let read = |text| Endpoint::parse(text, 7092).map(|endpoint| endpoint.to_string());
        assert_eq!(read("localhost"), Ok("localhost:7092".to_owned()));
        assert_eq!(read("10.0.0.1:1"), Ok("10.0.0.1:1".to_owned()));
        assert_eq!(read("[::1]:7"), Ok("[::1]:7".to_owned()));
        assert_eq!(read("[::1]"), Ok("[::1]:7092".to_owned()));
        assert_eq!(read("::1"), Ok("[::1]:7092".to_owned()));
        for wrong in ["", ":1", "host:", "host:70000", "host:x", "[::1", "[::1]7", "a b"] {
            assert!(read(wrong).is_err(), "{wrong:?} taken for an address");
        }
    }
}
