//! Connections, shard maps, metadata and questions.

use core::time::Duration;

use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{
    CreateTopicRequest, DescribeTopicRequest, ListTopicsRequest, TIMESTAMP_END,
};

use super::world::World;
use crate::core::*;
use crate::error::{ClientError, Fault};

const TOPIC: &str = "orders";
const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn a_refused_first_connection_is_reported_at_once_with_its_address() {
    let mut world = World::new(1, 1);
    world.down = true;
    world.settle();
    let [Event::ConnectFailed(error)] = &world.events[..] else { panic!("{:?}", world.events) };
    assert!(error.to_string().contains("broker:7092"), "{error}");
    assert!(error.to_string().contains("ringmain serve"), "{error}");
    // It goes on trying, and later losses are not reported that way.
    world.down = false;
    world.advance(Duration::from_secs(1));
    assert_eq!(world.events.pop(), Some(Event::Ready));
    world.events.clear();
    world.down = true;
    world.cut_all();
    world.advance(Duration::from_secs(5));
    assert_eq!(world.events, []);
    let dials = world.dialled.len();
    assert!((5..40).contains(&dials), "{dials} dials in about five seconds");
}

#[test]
fn bytes_of_another_protocol_are_a_failed_connection() {
    let mut core =
        ClientCore::new(ClientConfig::default(), vec![Endpoint { host: "web".to_owned(), port: 80 }], 1);
    let Some(Effect::Connect { connection, .. }) = core.poll_effect(Duration::ZERO) else {
        panic!("no connect")
    };
    core.handle_connected(Duration::ZERO, connection);
    core.handle_received(Duration::ZERO, connection, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(core.poll_effect(Duration::ZERO), Some(Effect::Close { connection }));
    assert!(matches!(core.poll_event(), Some(Event::ConnectFailed(ClientError::Connect { .. }))));
}

#[test]
fn questions_are_answered_and_repeated_only_where_that_is_safe() {
    let mut world = World::with_topic(1, TOPIC, 3);
    world.broker.frozen = true;
    let list = world.core.ask(world.now, Request::ListTopics(ListTopicsRequest { internal: false }), TIMEOUT);
    let create =
        CreateTopicRequest { name: "new".to_owned(), partitions: 1, ..CreateTopicRequest::default() };
    let create = world.core.ask(world.now, Request::CreateTopic(create), TIMEOUT);
    world.settle();
    world.cut_all();
    world.broker.frozen = false;
    world.events.clear();
    world.advance(Duration::from_secs(2));
    let outcome = |asked: RequestId| {
        let found = world.events.iter().find_map(|event| match event {
            Event::Answered { request, outcome } if *request == asked => Some(outcome.clone()),
            _ => None,
        });
        found.expect("answered")
    };
    assert_eq!(outcome(create), Err(ClientError::ConnectionLost { request: "create_topic" }));
    let Ok(Answer::Topics(topics)) = outcome(list) else { panic!("{:?}", outcome(list)) };
    assert_eq!(topics.topics[0].partitions, 3);
}

#[test]
fn a_question_without_answer_times_out_and_a_refused_one_says_why() {
    let mut world = World::with_topic(1, TOPIC, 3);
    world.events.clear();
    let describe = Request::DescribeTopic(DescribeTopicRequest { name: TOPIC.to_owned() });
    world.core.ask(world.now, describe, TIMEOUT);
    world.settle();
    let Some(Event::Answered { outcome: Err(error), .. }) = world.events.pop() else {
        panic!("{:?}", world.events)
    };
    assert_eq!((error.code(), error.fault()), (ErrorCode::Unsupported, Fault::Caller));
    world.broker.frozen = true;
    world.core.ask(world.now, Request::ListTopics(ListTopicsRequest { internal: false }), TIMEOUT);
    world.advance(TIMEOUT - Duration::from_millis(1));
    assert_eq!(world.events, []);
    world.advance(Duration::from_millis(1));
    assert!(matches!(
        &world.events[..],
        [Event::Answered { outcome: Err(ClientError::TimedOut { .. }), .. }]
    ));
}

#[test]
fn offsets_are_asked_of_the_owner_and_a_missing_partition_is_named() {
    let mut world = World::with_topic(3, TOPIC, 3);
    world.events.clear();
    let ask = |partition| Request::ListOffsets {
        topic: TOPIC.to_owned(),
        partition: PartitionIndex(partition),
        timestamp: TIMESTAMP_END,
    };
    world.core.ask(world.now, ask(2), TIMEOUT);
    world.settle();
    assert!(world.dialled.contains(&7102), "{:?}", world.dialled);
    assert!(matches!(&world.events[..], [Event::Answered { outcome: Ok(Answer::Offset(_)), .. }]));
    world.core.ask(world.now, ask(3), TIMEOUT);
    world.settle();
    let Some(Event::Answered { outcome: Err(error), .. }) = world.events.pop() else {
        panic!("{:?}", world.events)
    };
    assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn fewer_shards_after_a_restart_are_learnt_from_the_new_greeting() {
    let mut world = World::with_topic(4, TOPIC, 4);
    let producer = world.core.open_producer(ProducerConfig::default());
    for round in 0..3_u64 {
        for partition in 0..4 {
            world.append(producer, TOPIC, Some(partition), None, "v", round).unwrap();
        }
        world.advance(Duration::from_secs(3));
        let deliveries = world.deliveries(producer);
        assert_eq!(deliveries.len(), 4, "round {round}");
        assert!(deliveries.iter().all(|delivery| delivery.outcome.is_ok()), "{deliveries:?}");
        world.broker.restart([1, 3][round as usize % 2]);
        world.cut_all();
    }
}

#[test]
fn partitions_that_others_added_are_found_when_missed_and_after_a_while() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(ProducerConfig::default());
    world.broker.set_partitions(TOPIC, 2);
    let missed = world.append(producer, TOPIC, Some(1), None, "v", 0);
    assert!(matches!(missed, Err(AppendError::Refused(_))), "{missed:?}");
    assert_eq!(world.append(producer, TOPIC, Some(1), None, "v", 0), Err(AppendError::AwaitingMetadata));
    world.settle();
    assert_eq!(world.append(producer, TOPIC, Some(1), None, "v", 0), Ok(()));
    world.broker.set_partitions(TOPIC, 3);
    world.advance(Duration::from_secs(301));
    assert_eq!(world.core.topic(TOPIC).unwrap().unwrap().partitions(), 3);
}
