//! Topics: what is known of them is answered from this shard's catalog; what changes them goes to the controller.

use std::collections::BTreeSet;

use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::store::{Appended, PartitionLimits, ProduceOutcome};
use ringmain_wire::batch::{BatchBuilder, BatchHeader, Codec};
use ringmain_wire::ids::{PartitionId, ShardId, TimestampMs, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Frame};
use ringmain_wire::native::messages::{
    AddPartitionsRequest, AlterTopicRequest, ConfigEntry, CreateTopicRequest, DeleteTopicRequest,
    DeleteTopicResponse, DescribeTopicRequest, ListTopicsRequest, ListTopicsResponse, MetadataRequest,
    MetadataResponse, PartitionMetadata, TopicDescription, TopicMetadata, TopicSummary,
};

use super::catalog::{Change, Topic};
use super::controller::{Command, Decided, Decision, Origin, Refusal, Step, unknown_topic};
use super::dispatch::Flow;
use super::mail::{Mail, RequestNumber};
use super::peers::Asking;
use super::requests::{Waiting, ticket};
use super::{ShardHost, placement};

/// Most partitions that one answer describes.
const ANSWER_PARTITIONS_MAX: u64 = 200_000;

impl ShardHost {
    pub(super) fn metadata(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Flow {
        let Some(request) = self.decode::<MetadataRequest>(id, frame) else { return Flow::Next };
        let names: Option<BTreeSet<String>> = request.topics.map(|names| names.into_iter().collect());
        let partitions: u64 = match &names {
            None => self.catalog.topics().map(|topic| u64::from(topic.partitions)).sum(),
            Some(names) => {
                let known = names.iter().filter_map(|name| self.catalog.by_name(name));
                known.map(|topic| u64::from(topic.partitions)).sum()
            }
        };
        if partitions > ANSWER_PARTITIONS_MAX {
            let problem = format!(
                "an answer would have {partitions} partitions, more than {ANSWER_PARTITIONS_MAX}; ask for fewer topics"
            );
            self.refuse(id, frame.header.api, frame.header.correlation, ErrorCode::InvalidRequest, &problem);
            return Flow::Next;
        }
        let topics = match names {
            None => self.catalog.topics().map(|topic| self.topic_metadata(topic)).collect(),
            Some(names) => names
                .into_iter()
                .map(|name| match self.catalog.by_name(&name) {
                    Some(topic) => self.topic_metadata(topic),
                    None => TopicMetadata {
                        error: ErrorCode::UnknownTopicOrPartition.number(),
                        name,
                        ..Default::default()
                    },
                })
                .collect(),
        };
        self.reply(id, frame, &MetadataResponse { topics })
    }

    pub(super) fn list_topics(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Flow {
        // There are no topics of the broker itself yet that a client could read.
        if self.decode::<ListTopicsRequest>(id, frame).is_none() {
            return Flow::Next;
        }
        let summary = |topic: &Topic| TopicSummary {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
        };
        let topics = self.catalog.topics().map(summary).collect();
        self.reply(id, frame, &ListTopicsResponse { topics })
    }

    pub(super) fn describe_topic(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Flow {
        let Some(request) = self.decode::<DescribeTopicRequest>(id, frame) else { return Flow::Next };
        match self.catalog.by_name(&request.name) {
            Some(topic) => {
                let description = self.description(topic);
                self.reply(id, frame, &description)
            }
            None => {
                let Refusal { code, message } = unknown_topic(&request.name);
                self.refuse(id, frame.header.api, frame.header.correlation, code, &message);
                Flow::Next
            }
        }
    }

    pub(super) fn create_topic(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(request) = self.decode::<CreateTopicRequest>(id, frame) else { return Flow::Next };
        self.ask_controller(id, frame, Command::Create(request), effects)
    }

    pub(super) fn alter_topic(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(request) = self.decode::<AlterTopicRequest>(id, frame) else { return Flow::Next };
        self.ask_controller(id, frame, Command::Alter(request), effects)
    }

    pub(super) fn add_partitions(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(request) = self.decode::<AddPartitionsRequest>(id, frame) else { return Flow::Next };
        self.ask_controller(id, frame, Command::AddPartitions(request), effects)
    }

    pub(super) fn delete_topic(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(request) = self.decode::<DeleteTopicRequest>(id, frame) else { return Flow::Next };
        self.ask_controller(id, frame, Command::Delete(request), effects)
    }

    /// The controller has decided, and every shard knows.
    pub(super) fn handle_decided(
        &mut self,
        number: RequestNumber,
        decision: Decision,
        effects: &mut Effects<Mail>,
    ) {
        match self.requests.remove(number) {
            Some(Waiting::Decision { answer, correlation, api }) => {
                let bytes = match decision {
                    Ok(Decided::Topic(topic)) => match self.catalog.by_id(topic) {
                        Some(topic) => frame::encode(api, true, 0, correlation, &self.description(topic), 0),
                        None => {
                            let gone = "the topic was deleted meanwhile";
                            frame::encode_error(api, correlation, ErrorCode::UnknownTopicOrPartition, gone)
                        }
                    },
                    Ok(Decided::Deleted(id)) => {
                        frame::encode(api, true, 0, correlation, &DeleteTopicResponse { id }, 0)
                    }
                    Ok(Decided::Valid) => {
                        frame::encode(api, true, 0, correlation, &TopicDescription::default(), 0)
                    }
                    Ok(Decided::ProducerIds(_)) => {
                        unreachable!("producer ids are asked for by the shard itself")
                    }
                    Err(Refusal { code, message }) => frame::encode_error(api, correlation, code, message),
                };
                self.answer_own(answer, bytes);
            }
            Some(Waiting::ProducerIds) => self.handle_producer_ids(decision, effects),
            other => unreachable!("a decision that nobody waits for: {other:?}"),
        }
    }

    /// On shard 0: someone asks for a decision.
    pub(super) fn handle_command(&mut self, origin: Origin, command: Command) {
        let controller = self.controller.as_mut().expect("only shard 0 is asked to decide");
        controller.handle_command(origin, command);
    }

    /// On shard 0: lets the controller go on.
    pub(super) fn poll_controller(&mut self, effects: &mut Effects<Mail>) {
        while let Some(step) = self.controller.as_mut().and_then(|controller| controller.poll(&self.catalog))
        {
            match step {
                Step::Log(change) => self.log_change(&change, effects),
                Step::Answer(origin, decision) => self.tell_decision(origin, decision, effects),
            }
        }
    }

    /// On shard 0: the change in hand is durable, or cannot be.
    pub(super) fn handle_change_logged(
        &mut self,
        result: Result<Appended, ErrorCode>,
        effects: &mut Effects<Mail>,
    ) {
        let others = self.identity.shards - 1;
        let controller = self.controller.as_mut().expect("only shard 0 logs changes");
        match result {
            Ok(_) => {
                let change = controller.handle_logged(usize::from(others));
                self.apply(&change, effects);
                for shard in 1..=others {
                    let mail = Mail::Apply { change: change.clone() };
                    effects.push(Effect::Mail { to: ShardId(shard), mail });
                }
                self.finish_change(effects);
            }
            Err(code) => {
                if let Some((origin, decision)) = controller.handle_log_failed(code) {
                    self.tell_decision(origin, decision, effects);
                }
            }
        }
    }

    /// On shard 0: another shard has applied the change in hand.
    pub(super) fn handle_applied(&mut self, effects: &mut Effects<Mail>) {
        self.controller.as_mut().expect("only shard 0 spreads changes").handle_applied();
        self.finish_change(effects);
    }

    /// A change is decided: this shard's catalog and partitions follow it.
    pub(super) fn apply(&mut self, change: &Change, effects: &mut Effects<Mail>) {
        let changes = self.catalog.apply(change);
        let mine = |id: &&PartitionId| placement::owner(**id, self.identity.shards) == self.identity.shard;
        for &id in changes.created.iter().filter(mine) {
            self.store.create(id);
        }
        for &id in changes.removed.iter().filter(mine) {
            self.store.remove(id, effects);
        }
        if let Change::CreateTopic { id, .. }
        | Change::AlterTopic { id, .. }
        | Change::AddPartitions { id, .. } = change
        {
            self.set_limits(*id);
        }
    }

    /// Keeps this shard's partitions of a topic as its settings say.
    pub(super) fn set_limits(&mut self, topic: TopicId) {
        let Some(topic) = self.catalog.by_id(topic) else { return };
        let settings = topic.settings();
        let limits = PartitionLimits {
            segment_bytes: settings.segment_bytes,
            segment_ms: settings.segment_ms,
            retention_ms: settings.retention_ms,
            retention_bytes: settings.retention_bytes,
            flush: settings.flush(),
        };
        for id in topic.partition_ids() {
            self.store.set_limits(id, limits);
        }
    }

    /// Asks the controller, wherever it is. The answer comes as [`handle_decided`](Self::handle_decided).
    pub(super) fn send_command(
        &mut self,
        number: RequestNumber,
        command: Command,
        effects: &mut Effects<Mail>,
    ) {
        let here = self.identity.shard;
        if here == ShardId(0) {
            self.handle_command(Origin { shard: here, request: number }, command);
        } else {
            self.peers.handle_asked(ShardId(0), Asking::Request);
            effects.push(Effect::Mail { to: ShardId(0), mail: Mail::Command { request: number, command } });
        }
    }

    fn ask_controller(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        command: Command,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        if self.identity.shard != ShardId(0) && !self.peers.has_room(ShardId(0), Asking::Request, 1) {
            self.peers.stall(ShardId(0), Asking::Request, id);
            return Flow::Wait;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Flow::Next };
        let number = self.requests.insert(Waiting::Decision {
            answer: connection.reserve_answer(),
            correlation: frame.header.correlation,
            api: frame.header.api,
        });
        self.send_command(number, command, effects);
        Flow::Next
    }

    fn log_change(&mut self, change: &Change, effects: &mut Effects<Mail>) {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(TimestampMs(0), None, Some(&change.encode()), &[]);
        let batch = builder.finish().expect("a change is small");
        let header = BatchHeader::parse(&batch).expect("the builder's own output parses");
        let number = self.requests.insert(Waiting::Change);
        match self.store.produce(PartitionId::METADATA, &header, &batch, None, Some(ticket(number, 0))) {
            ProduceOutcome::Waiting => {}
            ProduceOutcome::Duplicate(_) => unreachable!("changes have no producer"),
            ProduceOutcome::Refused(code) => {
                self.requests.remove(number);
                self.handle_change_logged(Err(code), effects);
            }
        }
    }

    fn finish_change(&mut self, effects: &mut Effects<Mail>) {
        let finished = self.controller.as_mut().and_then(super::controller::Controller::finish_change);
        if let Some((origin, decision)) = finished {
            self.tell_decision(origin, decision, effects);
        }
    }

    fn tell_decision(&mut self, origin: Origin, decision: Decision, effects: &mut Effects<Mail>) {
        let Origin { shard, request } = origin;
        if shard == self.identity.shard {
            self.handle_decided(request, decision, effects);
        } else {
            effects.push(Effect::Mail { to: shard, mail: Mail::Decided { request, decision } });
        }
    }

    fn topic_metadata(&self, topic: &Topic) -> TopicMetadata {
        TopicMetadata {
            error: 0,
            name: topic.name.clone(),
            id: topic.id,
            partitions: self.partition_metadata(topic),
        }
    }

    fn description(&self, topic: &Topic) -> TopicDescription {
        let config =
            |(key, value): (&String, &String)| ConfigEntry { key: key.clone(), value: value.clone() };
        TopicDescription {
            name: topic.name.clone(),
            id: topic.id,
            replication_factor: topic.replication_factor,
            partitions: self.partition_metadata(topic),
            configs: topic.configs.iter().map(config).collect(),
        }
    }

    fn partition_metadata(&self, topic: &Topic) -> Vec<PartitionMetadata> {
        let partition = |id: PartitionId| PartitionMetadata {
            index: id.index,
            leader: self.identity.node,
            shard: placement::owner(id, self.identity.shards),
            leader_epoch: self.leader_epoch,
            damaged: self.damaged.contains(&id),
        };
        topic.partition_ids().map(partition).collect()
    }
}
