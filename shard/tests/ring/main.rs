//! The ring loop over real sockets, real files and real threads.
#![cfg(not(loom))]

mod files;
mod harness;
mod mail;
mod network;
mod start;
