//! A stream of chunks, cut into blocks of whole characters that are worth a thread's while.

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use crate::{HandlerError, TextStream};

/// The largest block, in bytes.
pub(super) const MOST: usize = 1024 * 1024;
/// Smaller chunks are gathered until there is so much. Bytes.
const LEAST: usize = 256 * 1024;

/// The blocks of a text.
pub(super) struct Blocks {
    chunks: TextStream,
    /// What is left of the last chunk. Blocks are cut from it without copying.
    chunk: Bytes,
    /// What was too little for a block: small chunks, or the begin of a character.
    gathered: BytesMut,
    ended: bool,
    offset: u64,
    most: usize,
    least: usize,
}

/// A stretch of the text. It ends between two characters, unless the text does not.
#[derive(Debug, PartialEq)]
pub(super) struct Block {
    /// Where in the text it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Blocks {
    /// The blocks of a text that comes in chunks of any size.
    pub(super) fn new(chunks: TextStream) -> Self {
        let (chunk, gathered) = (Bytes::new(), BytesMut::new());
        Self { chunks, chunk, gathered, ended: false, offset: 0, most: MOST, least: LEAST }
    }

    /// The next block. A call that is dropped midway loses nothing.
    ///
    /// # Errors
    /// The stream's.
    pub(super) async fn next(&mut self) -> Result<Option<Block>, HandlerError> {
        loop {
            if let Some(bytes) = self.cut() {
                let block = Block { offset: self.offset, bytes };
                self.offset += block.bytes.len() as u64;
                return Ok(Some(block));
            }
            if self.ended {
                return Ok(None);
            }
            match self.chunks.next().await.transpose()? {
                Some(chunk) => self.chunk = chunk,
                None => self.ended = true,
            }
        }
    }

    /// A block of what is here, if it is enough for one. Otherwise all of it has been gathered.
    fn cut(&mut self) -> Option<Bytes> {
        if self.gathered.is_empty() && self.chunk.len() >= self.least {
            let end = whole_characters(&self.chunk[..self.chunk.len().min(self.most)]);
            return Some(self.chunk.split_to(end));
        }
        let wanted = self.chunk.len().min(self.least.saturating_sub(self.gathered.len()));
        self.gathered.extend_from_slice(&self.chunk.split_to(wanted));
        if self.gathered.len() >= self.least {
            let end = whole_characters(&self.gathered);
            return Some(self.gathered.split_to(end).freeze());
        }
        (self.ended && !self.gathered.is_empty()).then(|| self.gathered.split().freeze())
    }
}

/// How much of some UTF-8 is whole characters; what is no UTF-8 counts as whole.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(3).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let Some(after) = tail else { return bytes.len() };
    let start = bytes.len() - after - 1;
    let width = match bytes[start] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    if start + width > bytes.len() { start } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, stream};
    use proptest::prelude::*;

    use super::*;

    fn blocks(chunks: Vec<Vec<u8>>, least: usize, most: usize) -> Vec<Block> {
        let chunks = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)))).boxed();
        let mut blocks = Blocks { most, least, ..Blocks::new(chunks) };
        std::iter::from_fn(|| blocks.next().now_or_never().expect("chunks are ready").expect("no chunk fails"))
            .collect()
    }

    proptest! {
        #[test]
        fn blocks_are_whole_characters_and_make_up_the_text(chunks in prop::collection::vec("[a-d]{0,9}|[é語😀]{0,9}", 0..20), cuts in prop::collection::vec(1_usize..9, 1..9), least in 4_usize..20, more in 0_usize..40) {
            let text = chunks.concat();
            let mut rest = text.as_bytes();
            let mut torn = Vec::new();
            for &cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                torn.push(chunk.to_vec());
                rest = after;
            }
            let blocks = blocks(torn, least, least + more);
            let mut offset = 0;
            for block in &blocks {
                prop_assert_eq!(block.offset, offset);
                prop_assert!(block.bytes.len() <= least + more && std::str::from_utf8(&block.bytes).is_ok());
                offset += block.bytes.len() as u64;
            }
            prop_assert_eq!(blocks.iter().flat_map(|block| block.bytes.to_vec()).collect::<Vec<_>>(), text.into_bytes());
        }

        #[test]
        fn what_is_no_utf_8_comes_through_as_well(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..9)) {
            let whole = chunks.concat();
            let blocks = blocks(chunks, 5, 16);
            prop_assert!(blocks.iter().all(|block| !block.bytes.is_empty()));
            prop_assert_eq!(blocks.iter().flat_map(|block| block.bytes.to_vec()).collect::<Vec<_>>(), whole);
        }
    }

    #[test]
    fn a_large_chunk_is_not_copied() {
        let chunk = Bytes::from("a".repeat(40));
        let address = chunk.as_ptr();
        let mut blocks = Blocks { most: 16, least: 8, ..Blocks::new(stream::iter([Ok(chunk)]).boxed()) };
        let first = blocks.next().now_or_never().expect("it is ready").expect("no chunk fails").expect("a block");
        assert_eq!((first.bytes.as_ptr(), first.bytes.len()), (address, 16));
    }
}
