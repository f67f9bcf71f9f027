//! One native connection, spoken by hand: frames out, answers in, every wait bounded.

use core::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmain_wire::native::errors::{Blame, ErrorCode};
use ringmain_wire::native::frame::{self, Api, Body, FRAME_BYTES_MAX_DEFAULT, FrameError, PROTOCOL_VERSION};
use ringmain_wire::native::messages::{ErrorBody, HelloRequest, HelloResponse};

/// A broker that is up answers within this time, or is taken for hung.
const ANSWER_AT_MOST: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;

/// A greeted connection.
#[derive(Debug)]
pub(crate) struct Session {
    socket: TcpStream,
    received: Vec<u8>,
    correlation: u32,
}

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum SessionError {
    /// It is gone, or could not be had.
    Lost(io::Error),
    /// Nothing came in time.
    Silent,
    /// What came is no answer of this protocol.
    Frame(FrameError),
    /// What came answers something else.
    WrongAnswer,
    /// The broker said no.
    Refused {
        /// The error's number.
        error: u16,
        /// What it said.
        message: String,
    },
}

impl Session {
    /// Connects and greets; gives the shard map too.
    pub(crate) fn connect(address: SocketAddr) -> Result<(Self, HelloResponse), SessionError> {
        let connect = || -> io::Result<_> {
            let socket = TcpStream::connect_timeout(&address, ANSWER_AT_MOST)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(ANSWER_AT_MOST))?;
            socket.set_write_timeout(Some(ANSWER_AT_MOST))?;
            Ok(socket)
        };
        let mut session = Self { socket: connect()?, received: Vec::new(), correlation: 0 };
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            client_name: "ringmain-crash".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (greeting, _) = session.request(Api::Hello, &hello)?;
        Ok((session, greeting))
    }

    /// Its socket, with nothing under way.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Sends a request without batches and waits for its answer.
    pub(crate) fn request<Q: Body, A: Body>(
        &mut self,
        api: Api,
        body: &Q,
    ) -> Result<(A, Vec<u8>), SessionError> {
        let correlation = self.send(api, body, &[])?;
        self.receive(api, correlation)
    }

    /// Sends a request and gives the number that its answer will carry.
    pub(crate) fn send<Q: Body>(&mut self, api: Api, body: &Q, payload: &[u8]) -> Result<u32, SessionError> {
        self.correlation += 1;
        let length = u32::try_from(payload.len()).expect("batches are small");
        let head = frame::encode(api.number(), false, 0, self.correlation, body, length);
        self.socket.write_all(&[&head[..], payload].concat())?;
        Ok(self.correlation)
    }

    /// Waits for the next answer, which must be that to `correlation`; gives its payload too.
    pub(crate) fn receive<A: Body>(
        &mut self,
        api: Api,
        correlation: u32,
    ) -> Result<(A, Vec<u8>), SessionError> {
        loop {
            if let Some((answer, length)) = frame::split(&self.received, FRAME_BYTES_MAX_DEFAULT)? {
                let header = answer.header;
                if header.api != api.number() || !header.answer || header.correlation != correlation {
                    return Err(SessionError::WrongAnswer);
                }
                let answered = match header.error {
                    0 => Ok((frame::decode::<A>(answer.body)?, answer.payload.to_vec())),
                    error => {
                        let message = frame::decode::<ErrorBody>(answer.body)?.message;
                        Err(SessionError::Refused { error, message })
                    }
                };
                self.received.drain(..length);
                return answered;
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), SessionError> {
        let filled = self.received.len();
        self.received.resize(filled + READ_BYTES, 0);
        let read = self.socket.read(&mut self.received[filled..]);
        self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl SessionError {
    /// The error behind a part's number in an answer.
    pub(crate) fn refused(error: u16, message: Option<String>) -> Self {
        Self::Refused { error, message: message.unwrap_or_default() }
    }

    /// Whether a client that means well tries again: the connection is gone, or the broker says so.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused { error, .. } => {
                ErrorCode::from_number(*error).is_some_and(|code| code.blame() == Blame::Retry)
            }
            Self::Silent | Self::Frame(_) | Self::WrongAnswer => false,
        }
    }
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Lost(error),
        }
    }
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => write!(out, "the connection is lost: {error}"),
            Self::Silent => write!(out, "no answer within {} s", ANSWER_AT_MOST.as_secs()),
            Self::Frame(error) => write!(out, "the answer is none: {error}"),
            Self::WrongAnswer => out.write_str("the answer is to something else"),
            Self::Refused { error, message } => match ErrorCode::from_number(*error) {
                Some(code) => write!(out, "refused, {code}: {message}"),
                None => write!(out, "refused with the unknown error {error}: {message}"),
            },
        }
    }
}

impl core::error::Error for SessionError {}
