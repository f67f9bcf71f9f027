//! `cluster info`.

use std::collections::BTreeMap;

use clap::Args;
use ringmain_wire::native::messages::{ShardStats, StatsResponse};
use serde::Serialize;

use crate::cli::arguments::{BrokerArguments, Format};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, write_document, write_text};
use crate::cli::session::with_client;

#[derive(Debug, Args)]
#[command(after_help = "Example: ringmain cluster info --format json")]
pub(in crate::cli) struct InfoArguments {
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Prints what the shards of the node that answers hold and have done.
pub(super) fn run(arguments: &InfoArguments, format: Format) -> Result<(), Failure> {
    let stats = with_client(&arguments.broker, async |client| Ok(client.stats().await?))?;
    match format {
        Format::Json => write_document(&InfoDocument::new(&stats)),
        Format::Text => write_text(&text(&stats)),
    }
}

/// Fields may only be added: programs read them.
#[derive(Serialize)]
struct InfoDocument<'a> {
    cluster_id: String,
    nodes: [NodeDocument<'a>; 1],
}

#[derive(Serialize)]
struct NodeDocument<'a> {
    node: u32,
    version: &'a str,
    shards: Vec<ShardDocument<'a>>,
}

#[derive(Serialize)]
struct ShardDocument<'a> {
    shard: u16,
    memory: Vec<MemoryDocument<'a>>,
    counters: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct MemoryDocument<'a> {
    owner: &'a str,
    bytes: u64,
    bytes_max: Option<u64>,
}

impl<'a> InfoDocument<'a> {
    fn new(stats: &'a StatsResponse) -> Self {
        let shards = stats.shards.iter().map(ShardDocument::new).collect();
        let node = NodeDocument { node: stats.node.get(), version: &stats.broker_version, shards };
        Self { cluster_id: uuid::Uuid::from_bytes(stats.cluster_id).to_string(), nodes: [node] }
    }
}

impl<'a> ShardDocument<'a> {
    fn new(stats: &'a ShardStats) -> Self {
        let memory = stats.memory.iter().map(|held| MemoryDocument {
            owner: &held.owner,
            bytes: held.bytes,
            bytes_max: held.bytes_max,
        });
        let counters = stats.counters.iter().map(|counter| (counter.name.as_str(), counter.value));
        Self { shard: stats.shard.get(), memory: memory.collect(), counters: counters.collect() }
    }
}

/// A line about the node, a table of all numbers, a shard a column.
fn text(stats: &StatsResponse) -> String {
    let mut head = vec!["".to_owned()];
    head.extend(stats.shards.iter().map(|stats| format!(">SHARD {}", stats.shard)));
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, cells) in rows(stats) {
        let cells =
            stats.shards.iter().map(|shard| cells.get(&shard.shard.get()).cloned().unwrap_or_default());
        table.row([name].into_iter().chain(cells).collect());
    }
    let cluster_id = uuid::Uuid::from_bytes(stats.cluster_id);
    format!(
        "cluster {cluster_id}\nnode {}, version {}\n\n{}",
        stats.node,
        stats.broker_version,
        table.render()
    )
}

/// By name, in the order in which the first shard tells them: what each shard says.
fn rows(stats: &StatsResponse) -> Vec<(String, BTreeMap<u16, String>)> {
    let mut rows: Vec<(String, BTreeMap<u16, String>)> = Vec::new();
    let mut put =
        |name: String, shard: u16, cell: String| match rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, cells)) => drop(cells.insert(shard, cell)),
            None => rows.push((name, BTreeMap::from([(shard, cell)]))),
        };
    for stats in &stats.shards {
        let shard = stats.shard.get();
        for held in &stats.memory {
            let limit = held.bytes_max.map_or(String::new(), |bytes| format!(" of {}", size(bytes)));
            put(format!("memory of {}", held.owner), shard, format!("{}{limit}", size(held.bytes)));
        }
        for counter in &stats.counters {
            let is_size = counter.name.contains("bytes");
            let cell = if is_size { size(counter.value) } else { counter.value.to_string() };
            put(counter.name.trim_end_matches("_total").replace('_', " "), shard, cell);
        }
    }
    rows
}

/// Bytes with the largest binary unit of which there is at least one, to a tenth.
fn size(bytes: u64) -> String {
    let units = [("TiB", 40_u32), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|&(_, bits)| bytes >> bits > 0) {
        None => format!("{bytes} B"),
        Some((unit, bits)) => {
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::{NodeId, ShardId};
    use ringmain_wire::native::messages::{Counter, MemoryUse};

    use super::*;

    fn stats() -> StatsResponse {
        let shard = |shard, bytes| ShardStats {
            shard: ShardId(shard),
            memory: vec![
                MemoryUse { owner: "tails".to_owned(), bytes, bytes_max: Some(64 << 20) },
                MemoryUse { owner: "connections".to_owned(), bytes: 0, bytes_max: None },
            ],
            counters: vec![
                Counter { name: "partitions".to_owned(), value: 3 },
                Counter { name: "settled_bytes_total".to_owned(), value: bytes * 10 },
            ],
        };
        StatsResponse {
            cluster_id: [1; 16],
            node: NodeId(1),
            broker_version: "0.1.0".to_owned(),
            shards: vec![shard(0, 1023), shard(1, 5 << 20)],
        }
    }

    #[test]
    fn the_document_names_every_owner_and_counter() {
        let mut stats = stats();
        stats.shards.pop();
        assert_eq!(
            serde_json::to_string(&InfoDocument::new(&stats)).expect("written"),
            "{\"cluster_id\":\"01010101-0101-0101-0101-010101010101\",\"nodes\":[{\"node\":1,\"version\":\"0.1.0\",\
             \"shards\":[{\"shard\":0,\"memory\":[{\"owner\":\"tails\",\"bytes\":1023,\"bytes_max\":67108864},\
             {\"owner\":\"connections\",\"bytes\":0,\"bytes_max\":null}],\
             \"counters\":{\"partitions\":3,\"settled_bytes_total\":10230}}]}]}"
        );
    }

    #[test]
    fn the_table_has_a_column_for_each_shard() {
        assert_eq!(
            text(&stats()),
            "cluster 01010101-0101-0101-0101-010101010101\nnode 1, version 0.1.0\n\n\
             \u{20}                                 SHARD 0              SHARD 1\n\
             memory of tails        1023 B of 64.0 MiB  5.0 MiB of 64.0 MiB\n\
             memory of connections                 0 B                  0 B\n\
             partitions                              3                    3\n\
             settled bytes                     9.9 KiB             50.0 MiB\n"
        );
    }
}
