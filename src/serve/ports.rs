//! The ports of a node: one that all shards share, and one for each.

use std::io;
use std::net::SocketAddr;

use ringmain_shard::ring::{BoundSocket, Sockets};
use ringmain_wire::ids::ShardId;
use ringmain_wire::native::messages::ShardEndpoint;

use super::{ServeError, ServeOptions};

/// Bound and not yet listening.
pub(super) struct Ports {
    /// Where clients connect first.
    pub(super) native: SocketAddr,
    /// Each shard's own port.
    pub(super) endpoints: Vec<ShardEndpoint>,
    /// What each shard listens on.
    pub(super) sockets: Vec<Sockets>,
}

pub(super) fn bind(options: &ServeOptions) -> Result<Ports, ServeError> {
    let address = options.native;
    let failed = |error| ServeError::bind(address, error);
    let shared = BoundSocket::bind_shared(address, usize::from(options.shards)).map_err(failed)?;
    let native = shared.first().map_or(address, BoundSocket::address);
    let mut endpoints = Vec::new();
    let mut sockets = Vec::new();
    for (number, shared) in (0..options.shards).zip(shared) {
        let own = bind_own(options, number).map_err(failed)?;
        endpoints.push(ShardEndpoint { shard: ShardId(number), port: own.address().port() });
        sockets.push(Sockets { shared: Some(shared), own: Some(own) });
    }
    Ok(Ports { native, endpoints, sockets })
}

/// A shard's own port: the one it should have, or any if that is taken. Clients learn it from the shard map.
fn bind_own(options: &ServeOptions, number: u16) -> io::Result<BoundSocket> {
    let any = SocketAddr::new(options.native.ip(), 0);
    let Some(port) = options.native_shards.and_then(|base| base.checked_add(number)) else {
        return BoundSocket::bind(any);
    };
    match BoundSocket::bind(SocketAddr::new(options.native.ip(), port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => BoundSocket::bind(any),
        bound => bound,
    }
}
