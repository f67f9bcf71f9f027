//! Native client of the Ringmain broker: a producer and a consumer that connect straight to the core that owns a
//! partition, keep order over every retry, and store each record once.
//!
//! Three layers, one behaviour: [`core`] is all logic, without sockets or clocks; [`driver`] carries it under tokio;
//! [`blocking`] wraps that for programs without an executor.
//!
//! ```no_run
//! use ringmain_client::blocking::Client;
//! use ringmain_client::{ClientConfig, ClientError, ConsumerConfig, Fetched, ProduceRecord, ProducerConfig, Start};
//! use ringmain_wire::ids::{PartitionIndex, TimestampMs};
//!
//! fn main() -> Result<(), ClientError> {
//!     let client = Client::connect("127.0.0.1:7092", ClientConfig::default())?;
//!     let producer = client.producer(ProducerConfig::default());
//!     let record = ProduceRecord {
//!         partition: None,
//!         timestamp: TimestampMs(1_700_000_000_000),
//!         key: Some(b"customer-7"),
//!         value: Some(b"two coffees"),
//!         headers: &[],
//!     };
//!     let delivered = producer.send("orders", &record)?.wait()?;
//!     println!("stored in partition {} at {:?}", delivered.partition, delivered.offset);
//!
//!     let consumer = client.consumer(ConsumerConfig::default());
//!     consumer.assign("orders", PartitionIndex(0), Start::Beginning)?;
//!     match consumer.next()? {
//!         Fetched::Records { records, .. } => println!("{} records", records.len()),
//!         Fetched::Failed { error, .. } => return Err(error),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Must never import: anything that exists on Linux only, any member of this workspace but `wire`.

pub mod blocking;
pub mod core;
pub mod driver;
mod error;
#[cfg(test)]
mod fake_broker;

pub use self::core::{
    Acks, AppendError, ClientConfig, ConsumerConfig, Endpoint, Fetched, Position, ProduceRecord,
    ProducerConfig, Record, Topic,
};
pub use self::driver::{Client, Consumer, Delivered, PendingDelivery, Producer, Start};
pub use self::error::{ClientError, Fault};
pub use ringmain_wire::batch::Codec;
