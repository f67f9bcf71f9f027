//! One blocking connection for what is not measured: greeting, metadata, reading back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmain_wire::native::frame::{self, Api, Body, FRAME_BYTES_MAX_DEFAULT, PROTOCOL_VERSION};
use ringmain_wire::native::messages::{ErrorBody, HelloRequest, HelloResponse};

use super::error::LoadError;

const READ_BYTES: usize = 64 * 1024;

/// A greeted connection with no request in flight.
pub(super) struct Session {
    socket: TcpStream,
    received: Vec<u8>,
    correlation: u32,
}

impl Session {
    /// Connects and greets; `timeout` bounds every wait on this connection.
    pub(super) fn connect(
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<(Self, HelloResponse), LoadError> {
        let socket = TcpStream::connect_timeout(&address, timeout)
            .map_err(|error| LoadError::Connect { address, error })?;
        let limit_waits = || {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(timeout))?;
            socket.set_write_timeout(Some(timeout))
        };
        limit_waits().map_err(|error| LoadError::Io { during: "preparing a connection", error })?;
        let mut session = Self { socket, received: Vec::new(), correlation: 0 };
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            client_name: "ringmain-bench".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (greeting, _) = session.request(Api::Hello, &hello)?;
        Ok((session, greeting))
    }

    /// Sends a request without payload and waits for its answer and the answer's payload.
    pub(super) fn request<Q: Body, A: Body>(
        &mut self,
        api: Api,
        body: &Q,
    ) -> Result<(A, Vec<u8>), LoadError> {
        self.correlation += 1;
        let request = frame::encode(api.number(), false, 0, self.correlation, body, 0);
        self.socket
            .write_all(&request)
            .map_err(|error| LoadError::Io { during: "sending a request to the broker", error })?;
        loop {
            if let Some((answer, length)) =
                frame::split(&self.received, FRAME_BYTES_MAX_DEFAULT).map_err(LoadError::Frame)?
            {
                let header = answer.header;
                if header.api != api.number() || !header.answer || header.correlation != self.correlation {
                    return Err(LoadError::WrongAnswer { api });
                }
                if header.error != 0 {
                    let message = frame::decode::<ErrorBody>(answer.body)
                        .map_or_else(|_| String::new(), |body| body.message);
                    return Err(LoadError::refused(api, header.error, message));
                }
                let decoded = frame::decode::<A>(answer.body).map_err(LoadError::Frame)?;
                let payload = answer.payload.to_vec();
                self.received.drain(..length);
                return Ok((decoded, payload));
            }
            self.receive()?;
        }
    }

    /// The bare socket, for the client loop.
    pub(super) fn into_socket(self) -> TcpStream {
        assert!(self.received.is_empty(), "every answer was consumed");
        self.socket
    }

    fn receive(&mut self) -> Result<(), LoadError> {
        let filled = self.received.len();
        self.received.resize(filled + READ_BYTES, 0);
        let read = self.socket.read(&mut self.received[filled..]);
        self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => {
                let error = std::io::ErrorKind::UnexpectedEof.into();
                Err(LoadError::Io { during: "waiting for the broker's answer", error })
            }
            Ok(_) => Ok(()),
            // A caught signal ends a run in order, which takes requests of its own.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(LoadError::Io { during: "waiting for the broker's answer", error }),
        }
    }
}
