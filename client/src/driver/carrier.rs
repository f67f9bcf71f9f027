//! The task that does what the core asks for, and one task a connection.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Phase, Shared};
use crate::core::{ConnectionId, Effect, Endpoint};

/// A connection's task and the way to it.
struct Line {
    segments: mpsc::UnboundedSender<Vec<Bytes>>,
    task: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Segments given to one system call.
const SEGMENTS_MAX: usize = 64;
/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// Carries out effects until the client is closed.
pub(super) async fn carry(shared: Arc<Shared>) {
    let mut lines = BTreeMap::new();
    loop {
        let deadline = {
            let mut state = shared.lock();
            if matches!(state.phase, Phase::Closed) {
                break;
            }
            let now = shared.now();
            while let Some(effect) = state.core.poll_effect(now) {
                carry_out(&shared, &mut lines, effect);
            }
            state.hand_out();
            state.core.deadline(now)
        };
        shared.changed.notify_waiters();
        match deadline {
            Some(deadline) => {
                // Woken or timed out: either way there may be something to do.
                let _ = tokio::time::timeout_at(shared.epoch + deadline, shared.work.notified()).await;
            }
            None => shared.work.notified().await,
        }
    }
    shared.changed.notify_waiters();
}

fn carry_out(shared: &Arc<Shared>, lines: &mut BTreeMap<ConnectionId, Line>, effect: Effect) {
    match effect {
        Effect::Connect { connection, endpoint } => {
            lines.retain(|_, line| !line.task.is_finished());
            let (segments, receiver) = mpsc::unbounded_channel();
            let task = tokio::spawn(hold(Arc::clone(shared), connection, endpoint, receiver)).abort_handle();
            lines.insert(connection, Line { segments, task });
        }
        Effect::Send { connection, segments } => {
            if let Some(line) = lines.get(&connection) {
                // A task that has ended has reported it, or is about to.
                drop(line.segments.send(segments));
            }
        }
        Effect::Close { connection } => drop(lines.remove(&connection)),
    }
}

/// Establishes one connection and carries bytes both ways until it ends.
async fn hold(
    shared: Arc<Shared>,
    connection: ConnectionId,
    endpoint: Endpoint,
    segments: mpsc::UnboundedReceiver<Vec<Bytes>>,
) {
    let established = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = match established.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
        Ok(stream) => stream,
        Err(error) => {
            let reason = describe(&error);
            return shared.command(|state, now| state.core.handle_connect_failed(now, connection, reason));
        }
    };
    shared.command(|state, now| state.core.handle_connected(now, connection));
    let (reader, writer) = stream.into_split();
    let ended = tokio::select! {
        ended = receive(&shared, connection, reader) => ended,
        ended = send(&shared, connection, writer, segments) => ended,
    };
    let reason = match ended {
        Ok(()) => "closed by the other side".to_owned(),
        Err(error) => describe(&error),
    };
    shared.command(|state, now| state.core.handle_closed(now, connection, reason));
}

async fn receive(shared: &Shared, connection: ConnectionId, mut reader: OwnedReadHalf) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    while reader.read_buf(&mut buffer).await? > 0 {
        shared.command(|state, now| state.core.handle_received(now, connection, &buffer));
        buffer.clear();
    }
    Ok(())
}

async fn send(
    shared: &Shared,
    connection: ConnectionId,
    mut writer: OwnedWriteHalf,
    mut segments: mpsc::UnboundedReceiver<Vec<Bytes>>,
) -> io::Result<()> {
    while let Some(segments) = segments.recv().await {
        for some in segments.chunks(SEGMENTS_MAX) {
            let mut slices = [IoSlice::new(&[]); SEGMENTS_MAX];
            for (slice, segment) in slices.iter_mut().zip(some) {
                *slice = IoSlice::new(segment);
            }
            let mut rest = &mut slices[..some.len()];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = writer.write_vectored(rest).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        shared.command(|state, _| state.core.handle_sent(connection));
    }
    Ok(())
}

/// What went wrong, without the number that means nothing to people.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}
