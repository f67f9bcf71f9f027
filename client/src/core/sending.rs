//! What a client does when it has the time: give up what is overdue, dial, and send what has become possible.

use core::time::Duration;
use std::collections::BTreeMap;

use ringmain_wire::ids::{PartitionId, ShardId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{InitProducerRequest, ListOffsetsPart, MetadataRequest};

use super::cluster::Cluster;
use super::links::Lane;
use super::{ClientCore, Effect, Purpose, Request};

/// How old metadata may become without an error that shows it outdated.
const METADATA_AGE_MAX: Duration = Duration::from_secs(300);
/// Bytes that may wait for a socket before produces without answer wait too; the others are bounded by their answers.
const TRANSMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl ClientCore {
    /// Does everything that can be done at `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        for lane in self.links.overdue(now) {
            self.effects.extend(self.links.connection(lane).map(|connection| Effect::Close { connection }));
            self.fail_link(now, lane, None, "no answer in time".to_owned());
        }
        self.requests.handle_timeout(now);
        for producer in self.producers.values_mut() {
            producer.handle_timeout(now);
        }
        self.send_identities(now);
        self.send_requests(now);
        self.send_produces(now);
        self.send_fetches(now);
        // After those that may have found a topic missing: nothing else might happen that would ask for it.
        self.send_metadata(now);
        self.dial(now);
        while let Some((connection, segments)) = self.links.poll_transmit() {
            self.effects.push_back(Effect::Send { connection, segments });
        }
    }

    fn dial(&mut self, now: Duration) {
        if self.map_outdated
            && let Some((connection, wire)) = self.links.ready(Lane::Control)
            && wire.waiting() == 0
        {
            self.map_outdated = false;
            self.effects.push_back(Effect::Close { connection });
            self.links.redial(now, Lane::Control);
        }
        let deadline = now + self.config.connect_timeout;
        let control_ready = self.links.ready(Lane::Control).is_some();
        for lane in self.links.due(now) {
            let endpoint = match lane.shard() {
                None => Some(self.cluster.bootstrap().clone()),
                // The map of a broker that was lost may be that of the last run.
                Some(_) if !control_ready => continue,
                Some(shard) => self.cluster.shard(shard).cloned(),
            };
            match endpoint {
                Some(endpoint) => self.effects.push_back(self.links.dial(lane, endpoint, deadline)),
                // That shard is no more; the owners are being asked for again.
                None => self.remove_link(lane),
            }
        }
    }

    fn send_metadata(&mut self, now: Duration) {
        if self.metadata.in_flight || now < self.metadata.retry_at {
            return;
        }
        if now >= self.metadata.refresh_at {
            self.metadata.refresh_at = now + METADATA_AGE_MAX;
            self.cluster.handle_aged();
        }
        let topics = self.cluster.stale();
        if topics.is_empty() {
            return;
        }
        let deadline = now + self.config.request_timeout;
        if let Some((_, wire)) = self.links.ready(Lane::Control) {
            let body = MetadataRequest { topics: Some(topics) };
            wire.send(Api::Metadata, &body, Vec::new(), deadline, Purpose::Metadata);
            self.metadata.in_flight = true;
        }
    }

    fn send_identities(&mut self, now: Duration) {
        let deadline = now + self.config.request_timeout;
        let Some((_, wire)) = self.links.ready(Lane::Control) else { return };
        for (&key, producer) in &mut self.producers {
            if producer.poll_identity(now) {
                let body = InitProducerRequest { transactional_id: None };
                wire.send(Api::InitProducer, &body, Vec::new(), deadline, Purpose::Identity(key));
            }
        }
    }

    fn send_requests(&mut self, now: Duration) {
        for id in self.requests.due(now) {
            let Some(request) = self.requests.request(id) else { continue };
            let (lane, part) = match request {
                Request::ListOffsets { topic, partition, timestamp } => {
                    let found = self.cluster.want(topic);
                    let found =
                        found.and_then(|topic| topic.map(|topic| topic.partition(*partition)).transpose());
                    let partition = match found {
                        Ok(Some(partition)) => partition,
                        Ok(None) => continue,
                        Err(error) => {
                            self.requests.finish(id, Err(error));
                            continue;
                        }
                    };
                    let Some(shard) = self.cluster.owner(partition) else { continue };
                    let part = ListOffsetsPart {
                        topic: partition.topic,
                        partition: partition.index,
                        timestamp: *timestamp,
                    };
                    (Lane::Requests(shard), Some(part))
                }
                _ => (Lane::Control, None),
            };
            self.links.want(lane);
            let deadline = now + self.config.request_timeout;
            if let Some((_, wire)) = self.links.ready(lane) {
                self.requests.send(id, wire, deadline, part);
            }
        }
    }

    fn send_produces(&mut self, now: Duration) {
        let deadline = now + self.config.request_timeout;
        for (&key, producer) in &mut self.producers {
            for (shard, partitions) in by_owner(&mut self.cluster, producer.due(now)) {
                let lane = Lane::Requests(shard);
                self.links.want(lane);
                let Some((connection, wire)) = self.links.ready(lane) else { continue };
                let frame_bytes_max = wire.frame_bytes_max().expect("a ready connection knows it");
                while wire.transmit_bytes() < TRANSMIT_BYTES_MAX
                    && let Some(command) =
                        producer.poll_request(now, connection, frame_bytes_max, &partitions)
                {
                    if command.batches.is_empty() {
                        wire.send_unanswered(Api::Produce, &command.body, command.payload);
                    } else {
                        let purpose = Purpose::Produce { producer: key, batches: command.batches };
                        wire.send(Api::Produce, &command.body, command.payload, deadline, purpose);
                    }
                }
            }
        }
    }

    fn send_fetches(&mut self, now: Duration) {
        for (&key, consumer) in &mut self.consumers {
            let owned = by_owner(&mut self.cluster, consumer.due(now));
            let shards = self.links.fetch_lanes(key).len().max(owned.len());
            for (shard, partitions) in owned {
                let lane = Lane::Fetch(key, shard);
                self.links.want(lane);
                let Some((_, wire)) = self.links.ready(lane) else { continue };
                if wire.waiting() > 0 {
                    continue;
                }
                if let Some((body, parts)) = consumer.poll_request(shard, shards, &partitions) {
                    let deadline = now + consumer.fetch_wait() + self.config.request_timeout;
                    let purpose = Purpose::Fetch { consumer: key, shard, parts };
                    wire.send(Api::Fetch, &body, Vec::new(), deadline, purpose);
                }
            }
        }
    }
}

/// Partitions by the shard that owns them; those whose owner is not known have to wait for it.
fn by_owner(cluster: &mut Cluster, partitions: Vec<PartitionId>) -> BTreeMap<ShardId, Vec<PartitionId>> {
    let mut owned: BTreeMap<ShardId, Vec<PartitionId>> = BTreeMap::new();
    for partition in partitions {
        match cluster.owner(partition) {
            Some(shard) => owned.entry(shard).or_default().push(partition),
            None => cluster.handle_wrong_owner(partition.topic),
        }
    }
    owned
}
