//! `cluster health`.

use std::time::{Duration, Instant};

use clap::Args;
use ringmain_wire::native::messages::{ShardStats, StatsResponse};
use serde::Serialize;

use crate::cli::arguments::{BrokerArguments, Format};
use crate::cli::clock::instant;
use crate::cli::failure::Failure;
use crate::cli::output::{write_document, write_text};
use crate::cli::session::with_client;
use crate::cli::time::parse_duration;

/// Exit code where something is not as it should be.
const EXIT_UNHEALTHY: u8 = 10;
/// Between two questions while it is waited.
const ASKED_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain cluster health
  ringmain cluster health --wait 30   # for scripts: until the broker is up and well

Exit code 0 means healthy, 10 that something is wrong, 1 that no broker could be asked.")]
pub(in crate::cli) struct HealthArguments {
    /// Wait until it is healthy, for so many seconds at most; a broker that cannot be reached is waited for too.
    #[arg(long, value_name = "SECONDS", value_parser = parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Says whether the node that answers is healthy, and what is wrong if it is not.
pub(super) fn run(arguments: &HealthArguments, format: Format) -> Result<(), Failure> {
    let until = arguments.wait.map(|wait| instant() + wait);
    let stats = loop {
        let asked = with_client(&arguments.broker, async |client| Ok(client.stats().await?));
        let is_fine = asked.as_ref().is_ok_and(|stats| problems(stats).is_empty());
        if is_fine || !until.is_some_and(pause_before) {
            break match asked {
                Err(failure) if arguments.wait.is_some() => return Err(failure.exiting_with(EXIT_UNHEALTHY)),
                asked => asked?,
            };
        }
    };
    let problems = problems(&stats);
    match format {
        Format::Json => write_document(&HealthDocument {
            healthy: problems.is_empty(),
            node: stats.node.get(),
            version: &stats.broker_version,
            shards: stats.shards.len(),
            problems: &problems,
        })?,
        Format::Text if problems.is_empty() => {
            write_text(&format!("healthy: node {}, {} shards\n", stats.node, stats.shards.len()))?;
        }
        Format::Text => write_text(&format!("{}\n", problems.join("\n")))?,
    }
    if problems.is_empty() {
        return Ok(());
    }
    let words = format!("node {} is not healthy: {} problems", stats.node, problems.len());
    Err(Failure::with_exit(EXIT_UNHEALTHY, "unhealthy", words))
}

/// Fields may only be added: programs read them.
#[derive(Serialize)]
struct HealthDocument<'a> {
    healthy: bool,
    node: u32,
    version: &'a str,
    shards: usize,
    problems: &'a [String],
}

/// What is not as it should be, a line each.
fn problems(stats: &StatsResponse) -> Vec<String> {
    stats.shards.iter().flat_map(problems_of).collect()
}

fn problems_of(stats: &ShardStats) -> Vec<String> {
    let shard = stats.shard;
    let count = |name: &str| {
        stats.counters.iter().find(|counter| counter.name == name).map_or(0, |counter| counter.value)
    };
    let all = [
        (count("disk_full"), "the disk is full: records are refused until there is room".to_owned()),
        (
            count("partitions_damaged"),
            format!(
                "{} partitions are damaged and take no records; `ringmain debug verify` on the stopped node says where",
                count("partitions_damaged")
            ),
        ),
        (
            count("segments_damaged_total"),
            format!(
                "rot was found in {} segments; the broker's log says where",
                count("segments_damaged_total")
            ),
        ),
    ];
    all.into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, words)| format!("shard {shard}: {words}"))
        .collect()
}

/// Lets a moment pass, if `until` is not over.
fn pause_before(until: Instant) -> bool {
    let left = until.saturating_duration_since(instant());
    std::thread::park_timeout(left.min(ASKED_EVERY));
    !left.is_zero()
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::ShardId;
    use ringmain_wire::native::messages::Counter;

    use super::*;

    fn stats(counters: &[(&str, u64)]) -> StatsResponse {
        let counters =
            counters.iter().map(|&(name, value)| Counter { name: name.to_owned(), value }).collect();
        let shards = vec![ShardStats { shard: ShardId(1), counters, ..ShardStats::default() }];
        StatsResponse { shards, ..StatsResponse::default() }
    }

    #[test]
    fn a_node_without_problems_is_healthy() {
        let fine = stats(&[("disk_full", 0), ("partitions_damaged", 0), ("storage_faults_total", 3)]);
        assert_eq!(problems(&fine), Vec::<String>::new());
    }

    #[test]
    fn each_problem_is_named_with_its_shard() {
        let found =
            problems(&stats(&[("disk_full", 1), ("partitions_damaged", 2), ("segments_damaged_total", 1)]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|problem| problem.starts_with("shard 1: ")));
        assert!(found[1].contains("2 partitions"), "{found:?}");
    }
}
