//! Decides on topics and producer ids. Lives on shard 0; view: cluster.
//!
//! One command at a time: checked against the catalog, logged, durable, applied on every shard, answered. So a crash at
//! any step leaves a change either wholly made or not made at all.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use ringmain_wire::ids::{ProducerId, ShardId, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{
    AddPartitionsRequest, AlterTopicRequest, ConfigEntry, CreateTopicRequest, DeleteTopicRequest,
};

use super::catalog::{Catalog, Change, Topic};
use super::config;
use super::mail::RequestNumber;

/// Longest topic name, Kafka's own.
const NAME_BYTES_MAX: usize = 249;
/// Most partitions of one topic.
const PARTITIONS_MAX: u32 = 100_000;

/// Something to decide on.
#[derive(Clone, Debug)]
pub enum Command {
    /// Create a topic.
    Create(CreateTopicRequest),
    /// Change its settings.
    Alter(AlterTopicRequest),
    /// Raise its partitions.
    AddPartitions(AddPartitionsRequest),
    /// Delete it.
    Delete(DeleteTopicRequest),
    /// Set a block of producer ids aside for a shard.
    ProducerIds {
        /// How many.
        count: u32,
    },
}

/// What was decided, or why nothing was.
pub type Decision = Result<Decided, Refusal>;

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The topic is now as asked for; or would be, if asked only to validate.
    Topic(TopicId),
    /// The topic is gone.
    Deleted(TopicId),
    /// These producer ids are the asker's.
    ProducerIds(Range<i64>),
    /// Nothing stands in the way.
    Valid,
}

/// Why nothing was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who has to act.
    pub code: ErrorCode,
    /// What was wrong, which input, and what to do about it.
    pub message: String,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The shard.
    pub shard: ShardId,
    /// Its request.
    pub request: RequestNumber,
}

/// What the controller wants done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Put this into the metadata log, and say when it is durable.
    Log(Change),
    /// Answer.
    Answer(Origin, Decision),
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    queue: VecDeque<(Origin, Command)>,
    current: Option<Current>,
    seed: u64,
    ids_made: u64,
}

#[derive(Debug)]
struct Current {
    origin: Origin,
    decided: Decided,
    change: Change,
    shards_waited_for: usize,
}

impl Controller {
    /// A controller whose topic ids follow from `seed`, which no other start of this node may have.
    pub fn new(seed: u64) -> Self {
        Self { queue: VecDeque::new(), current: None, seed, ids_made: 0 }
    }

    /// Whether nothing waits for a decision.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Someone asks for a decision.
    pub fn handle_command(&mut self, origin: Origin, command: Command) {
        self.queue.push_back((origin, command));
    }

    /// What to do next; nothing while a decision is on its way.
    pub fn poll(&mut self, catalog: &Catalog) -> Option<Step> {
        if self.current.is_some() {
            return None;
        }
        let (origin, command) = self.queue.pop_front()?;
        match self.decide(catalog, command) {
            Ok((decided, Some(change))) => {
                self.current =
                    Some(Current { origin, decided, change: change.clone(), shards_waited_for: 0 });
                Some(Step::Log(change))
            }
            Ok((decided, None)) => Some(Step::Answer(origin, Ok(decided))),
            Err(refusal) => Some(Step::Answer(origin, Err(refusal))),
        }
    }

    /// The change in hand is durable: it is to be applied here and on `others` other shards.
    ///
    /// # Panics
    /// When no change is in hand.
    pub fn handle_logged(&mut self, others: usize) -> Change {
        let current = self.current.as_mut().expect("a logged change is in hand");
        current.shards_waited_for = others;
        current.change.clone()
    }

    /// Another shard has applied the change in hand.
    pub fn handle_applied(&mut self) {
        if let Some(current) = &mut self.current {
            current.shards_waited_for -= 1;
        }
    }

    /// The answer to the change in hand, once it is applied everywhere.
    pub fn finish_change(&mut self) -> Option<(Origin, Decision)> {
        let current = self.current.take_if(|current| current.shards_waited_for == 0)?;
        Some((current.origin, Ok(current.decided)))
    }

    /// The change in hand could not be logged.
    pub fn handle_log_failed(&mut self, code: ErrorCode) -> Option<(Origin, Decision)> {
        let current = self.current.take()?;
        let message = format!("the metadata log did not take the change: {code}");
        Some((current.origin, Err(Refusal { code, message })))
    }

    fn decide(&mut self, catalog: &Catalog, command: Command) -> Result<(Decided, Option<Change>), Refusal> {
        match command {
            Command::Create(request) => self.create(catalog, request),
            Command::Alter(request) => alter(catalog, request),
            Command::AddPartitions(request) => add_partitions(catalog, &request),
            Command::Delete(request) => {
                let id = known(catalog, &request.name)?.id;
                Ok((Decided::Deleted(id), Some(Change::DeleteTopic { id })))
            }
            Command::ProducerIds { count } => {
                let first = catalog.producer_next().get();
                let next = first.checked_add(i64::from(count)).ok_or_else(|| Refusal {
                    code: ErrorCode::Internal,
                    message: "all producer ids have been handed out".to_owned(),
                })?;
                Ok((Decided::ProducerIds(first..next), Some(Change::ProducerIds { next: ProducerId(next) })))
            }
        }
    }

    fn create(
        &mut self,
        catalog: &Catalog,
        request: CreateTopicRequest,
    ) -> Result<(Decided, Option<Change>), Refusal> {
        let CreateTopicRequest { name, partitions, replication_factor, configs, validate_only } = request;
        check_name(&name)?;
        check_partitions(partitions)?;
        if replication_factor != 1 {
            let message = format!(
                "a replication factor of {replication_factor} needs as many nodes, and there is 1; use 1"
            );
            return Err(Refusal { code: ErrorCode::InvalidPartitions, message });
        }
        check_configs(&configs)?;
        if catalog.by_name(&name).is_some() {
            let message = format!("topic {name:?} exists; see `topic describe {name}`");
            return Err(Refusal { code: ErrorCode::TopicExists, message });
        }
        if validate_only {
            return Ok((Decided::Valid, None));
        }
        let id = self.make_topic_id();
        let change = Change::CreateTopic { id, name, partitions, replication_factor, configs };
        Ok((Decided::Topic(id), Some(change)))
    }

    /// A random UUID (RFC 9562, version 4) as far as `seed` is random.
    fn make_topic_id(&mut self) -> TopicId {
        let mut id = [0; 16];
        for half in id.chunks_exact_mut(8) {
            self.ids_made += 1;
            half.copy_from_slice(
                &mix(self.seed.wrapping_add(self.ids_made.wrapping_mul(GOLDEN_GAMMA))).to_le_bytes(),
            );
        }
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        TopicId(id)
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mix(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

fn alter(catalog: &Catalog, request: AlterTopicRequest) -> Result<(Decided, Option<Change>), Refusal> {
    let topic = known(catalog, &request.name)?;
    check_configs(&request.set)?;
    check_unset(topic, &request)?;
    let mut configs: BTreeMap<String, String> = topic.configs.clone();
    for key in &request.unset {
        configs.remove(key);
    }
    configs.extend(request.set.into_iter().map(|entry| (entry.key, entry.value)));
    let configs = configs.into_iter().map(|(key, value)| ConfigEntry { key, value }).collect();
    Ok((Decided::Topic(topic.id), Some(Change::AlterTopic { id: topic.id, configs })))
}

fn add_partitions(
    catalog: &Catalog,
    request: &AddPartitionsRequest,
) -> Result<(Decided, Option<Change>), Refusal> {
    let topic = known(catalog, &request.name)?;
    check_partitions(request.partitions)?;
    if request.partitions <= topic.partitions {
        let message = format!(
            "topic {:?} has {} partitions; their number can only be raised, not set to {}",
            topic.name, topic.partitions, request.partitions
        );
        return Err(Refusal { code: ErrorCode::InvalidPartitions, message });
    }
    let change = Change::AddPartitions { id: topic.id, partitions: request.partitions };
    Ok((Decided::Topic(topic.id), Some(change)))
}

fn known<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Topic, Refusal> {
    catalog.by_name(name).ok_or_else(|| unknown_topic(name))
}

/// The refusal for a topic that does not exist.
pub fn unknown_topic(name: &str) -> Refusal {
    // A name can be as long as a request.
    let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
    let message = format!("there is no topic {name:?}; create it with `topic create {name} --partitions N`");
    Refusal { code: ErrorCode::UnknownTopicOrPartition, message }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(allowed)
    {
        return Ok(());
    }
    let name: String = name.chars().take(NAME_BYTES_MAX + 1).collect();
    let message = format!(
        "a topic name has 1 to {NAME_BYTES_MAX} of a-z A-Z 0-9 . _ - and is neither \".\" nor \"..\"; {name:?} does not"
    );
    Err(Refusal { code: ErrorCode::InvalidTopicName, message })
}

fn check_partitions(partitions: u32) -> Result<(), Refusal> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    let message = format!("a topic has 1 to {PARTITIONS_MAX} partitions, not {partitions}");
    Err(Refusal { code: ErrorCode::InvalidPartitions, message })
}

fn check_configs(configs: &[ConfigEntry]) -> Result<(), Refusal> {
    configs.iter().try_for_each(|entry| config::check(entry).map_err(refuse_config))
}

/// Keys to put back: settings, or what another version has set.
fn check_unset(topic: &Topic, request: &AlterTopicRequest) -> Result<(), Refusal> {
    request.unset.iter().try_for_each(|key| {
        if request.set.iter().any(|entry| entry.key == *key) {
            return Err(refuse_config(format!("{key} cannot be set and unset at once; do one of them")));
        }
        if topic.configs.contains_key(key) { Ok(()) } else { config::check_key(key).map_err(refuse_config) }
    })
}

fn refuse_config(message: String) -> Refusal {
    Refusal { code: ErrorCode::InvalidConfig, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { shard: ShardId(1), request: 7 };

    fn create(name: &str, partitions: u32) -> Command {
        Command::Create(CreateTopicRequest {
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            ..Default::default()
        })
    }

    fn code(step: Option<Step>) -> ErrorCode {
        let Some(Step::Answer(ORIGIN, Err(refusal))) = step else { panic!("not refused: {step:?}") };
        refusal.code
    }

    #[test]
    fn a_change_is_answered_only_when_every_shard_has_it_and_the_next_waits() {
        let mut catalog = Catalog::default();
        let mut controller = Controller::new(1);
        controller.handle_command(ORIGIN, create("orders", 2));
        controller.handle_command(ORIGIN, create("orders", 2));
        let Some(Step::Log(change)) = controller.poll(&catalog) else { panic!("nothing to log") };
        assert_eq!(controller.poll(&catalog), None, "one at a time");
        assert_eq!(controller.handle_logged(1), change);
        catalog.apply(&change);
        assert_eq!(controller.finish_change(), None);
        controller.handle_applied();
        let (origin, decision) = controller.finish_change().unwrap();
        assert_eq!(origin, ORIGIN);
        assert!(matches!(decision, Ok(Decided::Topic(_))));
        assert_eq!(code(controller.poll(&catalog)), ErrorCode::TopicExists);
        assert!(controller.is_idle());
    }

    #[test]
    fn what_is_not_allowed_is_refused_before_it_reaches_the_log() {
        let catalog = Catalog::default();
        let mut controller = Controller::new(1);
        let mut ask = |command| {
            controller.handle_command(ORIGIN, command);
            code(controller.poll(&catalog))
        };
        assert_eq!(ask(create("", 1)), ErrorCode::InvalidTopicName);
        assert_eq!(ask(create("a/b", 1)), ErrorCode::InvalidTopicName);
        assert_eq!(ask(create(&"a".repeat(250), 1)), ErrorCode::InvalidTopicName);
        assert_eq!(ask(create("orders", 0)), ErrorCode::InvalidPartitions);
        assert_eq!(
            ask(Command::Delete(DeleteTopicRequest { name: "x".into() })),
            ErrorCode::UnknownTopicOrPartition
        );
    }

    #[test]
    fn only_known_settings_are_put_back_and_none_is_also_set() {
        let mut catalog = Catalog::default();
        let mut controller = Controller::new(1);
        let other_version = ConfigEntry { key: "moon.phase".into(), value: "full".into() };
        catalog.apply(&Change::CreateTopic {
            id: TopicId([1; 16]),
            name: "orders".into(),
            partitions: 1,
            replication_factor: 1,
            configs: vec![other_version],
        });
        let mut alter = |set: &[(&str, &str)], unset: &[&str]| {
            let set = set.iter().map(|&(key, value)| ConfigEntry { key: key.into(), value: value.into() });
            let unset = unset.iter().map(|&key| key.to_owned()).collect();
            let request = AlterTopicRequest { name: "orders".into(), set: set.collect(), unset };
            controller.handle_command(ORIGIN, Command::Alter(request));
            match controller.poll(&catalog) {
                Some(Step::Answer(ORIGIN, Err(refusal))) => Err((refusal.code, refusal.message)),
                Some(Step::Log(Change::AlterTopic { configs, .. })) => {
                    controller.handle_log_failed(ErrorCode::Internal);
                    Ok(configs.len())
                }
                step => panic!("neither refused nor logged: {step:?}"),
            }
        };
        let (code, message) = alter(&[], &["nope"]).unwrap_err();
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(message.starts_with("\"nope\" is not a topic setting; "), "{message}");
        let (code, message) = alter(&[("max.message.bytes", "1")], &["max.message.bytes"]).unwrap_err();
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(message.starts_with("max.message.bytes cannot be set and unset"), "{message}");
        assert_eq!(alter(&[("max.message.bytes", "1")], &[]), Ok(2));
        assert_eq!(alter(&[], &["max.message.bytes"]), Ok(1), "at its default already");
        assert_eq!(alter(&[], &["moon.phase"]), Ok(0), "set by another version");
    }

    #[test]
    fn producer_ids_are_never_handed_out_twice() {
        let mut catalog = Catalog::default();
        let mut controller = Controller::new(1);
        let mut blocks = Vec::new();
        for _ in 0..2 {
            controller.handle_command(ORIGIN, Command::ProducerIds { count: 10 });
            let Some(Step::Log(change)) = controller.poll(&catalog) else { panic!("nothing to log") };
            controller.handle_logged(0);
            catalog.apply(&change);
            blocks.push(controller.finish_change().unwrap().1);
        }
        assert_eq!(blocks, [Ok(Decided::ProducerIds(0..10)), Ok(Decided::ProducerIds(10..20))]);
    }

    #[test]
    fn topic_ids_differ_and_are_version_4_uuids() {
        let mut controller = Controller::new(3);
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| controller.make_topic_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.0[6] >> 4 == 4 && id.0[8] >> 6 == 2));
    }
}
