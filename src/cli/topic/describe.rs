//! `topic describe`.

use std::collections::BTreeMap;

use clap::Args;
use ringmain_client::{Client, ClientError};
use ringmain_wire::ids::{Offset, PartitionIndex};
use ringmain_wire::native::messages::{PartitionMetadata, TIMESTAMP_END, TIMESTAMP_START, TopicDescription};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::cli::arguments::{BrokerArguments, Format};
use crate::cli::failure::{EXIT_FAILED, Failure};
use crate::cli::output::{Table, write_document, write_text};
use crate::cli::session::with_client;
use crate::host::config::TopicSettings;

/// Partitions asked for their offsets at once.
const QUESTIONS_MAX: usize = 64;

#[derive(Debug, Args)]
pub(in crate::cli) struct DescribeArguments {
    /// Its name.
    name: String,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Prints one topic.
pub(super) fn run(arguments: &DescribeArguments, format: Format) -> Result<(), Failure> {
    let (topic, ends) = with_client(&arguments.broker, async |client| {
        let topic = client.describe_topic(&arguments.name).await?;
        let ends = find_ends(&client, &topic).await;
        Ok((topic, ends))
    })?;
    let document = TopicDocument::new(&topic, &ends);
    match format {
        Format::Json => write_document(&document)?,
        Format::Text => write_text(&document.render_text())?,
    }
    check_ends(&topic, &ends)
}

/// First and next offset of each partition that was asked, or why they are not known.
type Ends = BTreeMap<PartitionIndex, Result<(Offset, Offset), ClientError>>;

async fn find_ends(client: &Client, topic: &TopicDescription) -> Ends {
    let mut ends = Ends::new();
    for partitions in topic.partitions.chunks(QUESTIONS_MAX) {
        let mut questions = JoinSet::new();
        for partition in partitions {
            let (client, name, index) = (client.clone(), topic.name.clone(), partition.index);
            questions.spawn(async move {
                let ask = async {
                    let start = client.list_offset(&name, index, TIMESTAMP_START).await?.offset;
                    let end = client.list_offset(&name, index, TIMESTAMP_END).await?.offset;
                    Ok((start, end))
                };
                (index, ask.await)
            });
        }
        ends.extend(questions.join_all().await);
    }
    ends
}

/// A table with holes is not what was asked for.
fn check_ends(topic: &TopicDescription, ends: &Ends) -> Result<(), Failure> {
    let mut unknown = ends.iter().filter_map(|(index, ends)| ends.as_ref().err().map(|error| (index, error)));
    let Some((first, error)) = unknown.next() else { return Ok(()) };
    let (count, name) = (1 + unknown.count(), &topic.name);
    let message = match count {
        1 => format!("the offsets of {name}/{first} could not be read: {error}"),
        _ => format!("the offsets of {count} partitions could not be read, first {name}/{first}: {error}"),
    };
    Err(Failure::passed_on(EXIT_FAILED, error.code().name(), &message))
}

/// What an acknowledgement means.
pub(super) fn durability(topic: &TopicDescription) -> String {
    let configs = topic.configs.iter().map(|entry| (entry.key.clone(), entry.value.clone()));
    TopicSettings::of(&configs.collect()).durability()
}

/// A topic for programs. Fields may only be added.
#[derive(Serialize)]
pub(super) struct TopicDocument<'a> {
    name: &'a str,
    id: String,
    replication_factor: u16,
    durability: String,
    partitions: Vec<PartitionDocument>,
    configs: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct PartitionDocument {
    partition: u32,
    leader: u32,
    shard: u16,
    leader_epoch: i32,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
    damaged: bool,
    /// Why the offsets are not known; null where they are, or where nobody asked.
    offsets_error: Option<String>,
}

impl<'a> TopicDocument<'a> {
    fn new(topic: &'a TopicDescription, ends: &Ends) -> Self {
        let partition = |metadata: &PartitionMetadata| {
            let PartitionMetadata { index, leader, shard, leader_epoch, damaged } = metadata;
            let (ends, error) = match ends.get(index) {
                Some(Ok(ends)) => (Some(ends), None),
                Some(Err(error)) => (None, Some(error.to_string())),
                None => (None, None),
            };
            PartitionDocument {
                partition: index.get(),
                leader: leader.get(),
                shard: shard.get(),
                leader_epoch: leader_epoch.get(),
                start_offset: ends.map(|(start, _)| start.get()),
                end_offset: ends.map(|(_, end)| end.get()),
                damaged: *damaged,
                offsets_error: error,
            }
        };
        Self {
            name: &topic.name,
            id: topic.id.to_string(),
            replication_factor: topic.replication_factor,
            durability: durability(topic),
            partitions: topic.partitions.iter().map(partition).collect(),
            configs: topic.configs.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect(),
        }
    }

    /// The answer to a change, for which nobody asks the partitions.
    pub(super) fn without_offsets(topic: &'a TopicDescription) -> Self {
        Self::new(topic, &Ends::new())
    }

    fn render_text(&self) -> String {
        let configs = self.configs.iter().map(|(key, value)| format!("{key}={value}"));
        let configs = configs.collect::<Vec<_>>().join(" ");
        let configs = if configs.is_empty() { "all at their defaults" } else { &configs };
        let mut table = Table::new(&[">PARTITION", ">LEADER", ">SHARD", ">EPOCH", ">START", ">END", "STATE"]);
        for partition in &self.partitions {
            let offset = |offset: Option<i64>| offset.map_or("?".to_owned(), |offset| offset.to_string());
            let damaged = partition.damaged.then(|| "damaged, read-only".to_owned());
            let unknown = partition.offsets_error.as_ref().map(|error| format!("offsets unknown: {error}"));
            let states: Vec<_> = damaged.into_iter().chain(unknown).collect();
            table.row(vec![
                partition.partition.to_string(),
                partition.leader.to_string(),
                partition.shard.to_string(),
                partition.leader_epoch.to_string(),
                offset(partition.start_offset),
                offset(partition.end_offset),
                if states.is_empty() { "ok".to_owned() } else { states.join("; ") },
            ]);
        }
        format!(
            "name                {}\nid                  {}\npartitions          {}\nreplication factor  {}\n\
             durability          {}\nsettings            {configs}\n\n{}",
            self.name,
            self.id,
            self.partitions.len(),
            self.replication_factor,
            self.durability,
            table.render()
        )
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::{LeaderEpoch, NodeId, ShardId, TopicId};
    use ringmain_wire::native::messages::ConfigEntry;

    use super::*;

    fn topic() -> TopicDescription {
        let partition = |index, damaged| PartitionMetadata {
            index: PartitionIndex(index),
            leader: NodeId(1),
            shard: ShardId(index as u16),
            leader_epoch: LeaderEpoch(3),
            damaged,
        };
        TopicDescription {
            name: "orders".to_owned(),
            id: TopicId([1; 16]),
            replication_factor: 1,
            partitions: vec![partition(0, false), partition(1, true)],
            configs: vec![ConfigEntry { key: "max.message.bytes".to_owned(), value: "9".to_owned() }],
        }
    }

    #[test]
    fn a_partition_without_known_offsets_is_shown_with_the_reason_and_is_a_failure() {
        let lost = || ClientError::TimedOut { waited_for: "its offsets".to_owned() };
        let known = (PartitionIndex(0), Ok((Offset(5), Offset(70))));
        let (topic, ends) = (topic(), Ends::from([known.clone(), (PartitionIndex(1), Err(lost()))]));
        let document = TopicDocument::new(&topic, &ends);
        assert_eq!(
            serde_json::to_string(&document).expect("written"),
            "{\"name\":\"orders\",\"id\":\"01010101-0101-0101-0101-010101010101\",\"replication_factor\":1,\
             \"durability\":\"synced before acknowledged\",\"partitions\":[\
             {\"partition\":0,\"leader\":1,\"shard\":0,\"leader_epoch\":3,\"start_offset\":5,\"end_offset\":70,\
             \"damaged\":false,\"offsets_error\":null},\
             {\"partition\":1,\"leader\":1,\"shard\":1,\"leader_epoch\":3,\"start_offset\":null,\
             \"end_offset\":null,\"damaged\":true,\"offsets_error\":\"timed out waiting for its offsets\"}],\
             \"configs\":{\"max.message.bytes\":\"9\"}}"
        );
        let text = document.render_text();
        assert!(text.contains("durability          synced before acknowledged\n"), "{text}");
        assert!(text.contains("settings            max.message.bytes=9\n"), "{text}");
        assert!(
            text.ends_with(
                "        1       1      1      3      ?    ?  \
                 damaged, read-only; offsets unknown: timed out waiting for its offsets\n"
            ),
            "{text}"
        );
        let message = "the offsets of orders/1 could not be read: timed out waiting for its offsets";
        assert_eq!(check_ends(&topic, &ends), Err(Failure::failed("timed_out", message)));
        assert_eq!(check_ends(&topic, &Ends::from([known])), Ok(()));
        let none = Ends::from([(PartitionIndex(0), Err(lost())), (PartitionIndex(1), Err(lost()))]);
        let message = "the offsets of 2 partitions could not be read, first orders/0: \
                       timed out waiting for its offsets";
        assert_eq!(check_ends(&topic, &none), Err(Failure::failed("timed_out", message)));
    }
}
