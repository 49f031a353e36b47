//! A database of one test's own on a MongoDB server.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::services::{parts, unique_name, with_path};

/// How long removing it may take, in which nobody is interested.
const TIDY_PATIENCE: Duration = Duration::from_secs(10);

/// A database that nobody else uses; removed when it is dropped.
#[derive(Debug)]
pub struct Database {
    url: String,
}

impl Database {
    /// A new one on the server at this URL.
    #[must_use]
    pub fn on(server: &str) -> Self {
        Self::named(server, &unique_name())
    }

    pub(crate) fn named(server: &str, name: &str) -> Self {
        Self { url: with_path(server, name) }
    }

    /// For `store.url`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = drop_database(&self.url);
    }
}

/// Removes the database of a URL: an `OP_MSG` with the document `{dropDatabase: 1, $db: name}`. A server that wants
/// to know who asks keeps it.
fn drop_database(url: &str) -> io::Result<()> {
    let (_, address, path) = parts(url);
    let name = path.trim_start_matches('/').split('?').next().unwrap_or_default();
    let mut document = b"\x10dropDatabase\0\x01\0\0\0\x02$db\0".to_vec();
    document.extend(length(name.len() + 1));
    document.extend(name.bytes());
    // The end of the name, and of the document.
    document.extend([0, 0]);
    // No flags, and one section of the first kind.
    let mut body = b"\xdd\x07\0\0\0\0\0\0\0".to_vec();
    body.extend(length(document.len() + 4));
    body.extend(document);
    // The whole's length, its number, and that it answers nothing.
    let mut message = length(body.len() + 12).to_vec();
    message.extend(*b"\x01\0\0\0\0\0\0\0");
    message.extend(body);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIDY_PATIENCE))?;
    stream.write_all(&message)?;
    stream.read_exact(&mut [0; 16])
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or_default().to_le_bytes()
}
