//! The core against a fake broker, without sockets or clocks.

mod connecting;
mod consuming;
mod producing;
mod random;
mod world;
