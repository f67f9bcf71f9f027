//! Changes of metadata as their log holds them, and the topic settings in them.

use ringmain::host::catalog::{Catalog, Change};
use ringmain::host::config;
use ringmain_wire::ids::{ProducerId, TopicId};
use ringmain_wire::native::messages::ConfigEntry;

use crate::fuzz::Verdict;

/// What decodes is encoded and decoded to the same again.
pub(in crate::fuzz) fn run_change(input: &[u8]) -> Verdict {
    let decoded = Change::decode(input);
    match &decoded {
        Ok(change) => assert_eq!(Change::decode(&change.encode()).as_ref(), Ok(change)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Verdict::of(&decoded)
}

/// A setting as a request carries it, `KEY=VALUE` here, is taken or refused with a reason.
pub(in crate::fuzz) fn run_setting(input: &[u8]) -> Verdict {
    let Some((key, value)) = str::from_utf8(input).ok().and_then(|text| text.split_once('=')) else {
        return Verdict::Refused;
    };
    let entry = ConfigEntry { key: key.to_owned(), value: value.to_owned() };
    let checked = config::check(&entry);
    match &checked {
        Ok(()) => assert_settings_hold(entry),
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
    Verdict::of(&checked)
}

/// A change of every kind.
pub(in crate::fuzz) fn change_seeds() -> Vec<Vec<u8>> {
    let id = TopicId([1; 16]);
    let configs = vec![ConfigEntry { key: "max.message.bytes".to_owned(), value: "2000".to_owned() }];
    [
        Change::CreateTopic {
            id,
            name: "a-topic-with-a-long-name".to_owned(),
            partitions: 3,
            replication_factor: 1,
            configs: configs.clone(),
        },
        Change::AlterTopic { id, configs },
        Change::AddPartitions { id, partitions: 5 },
        Change::DeleteTopic { id },
        Change::ProducerIds { next: ProducerId(2_000) },
    ]
    .iter()
    .map(Change::encode)
    .collect()
}

/// Settings that are taken.
pub(in crate::fuzz) fn setting_seeds() -> Vec<Vec<u8>> {
    ["max.message.bytes=1", "max.message.bytes=16777216", "max.message.bytes=1048588"]
        .map(|setting| setting.as_bytes().to_vec())
        .to_vec()
}

/// A topic with a setting that was taken can be asked for what the setting decides.
fn assert_settings_hold(entry: ConfigEntry) {
    let id = TopicId([1; 16]);
    let name = "orders".to_owned();
    let mut catalog = Catalog::default();
    let create = Change::CreateTopic { id, name, partitions: 1, replication_factor: 1, configs: vec![entry] };
    catalog.apply(&create);
    let topic = catalog.by_id(id).expect("just created");
    assert!((1..=config::MAX_MESSAGE_BYTES_LIMIT).contains(&topic.batch_bytes_max()));
}
