//! Registers in an archive: keys and schedules. Slots and rates stay behind: what holds a slot runs in no other store,
//! and a rate is used up anew.

use std::{fs, path::Path};

use gristmill_common::{Tenant, Timestamp};
use gristmill_storage::{Expect, Register, RegisterKey, Space, Store, Swap};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ArchiveError,
    error::{at, damaged},
    files::{NewFile, Seal, Sealer},
    import::patiently,
};

/// The file's name in the archive.
pub(crate) const REGISTERS: &str = "registers.jsonl";
/// The oldest format that can hold registers.
pub(crate) const FORMAT_WITH_REGISTERS: u32 = 2;
/// The spaces that move.
const SPACES: [Space; 3] = [Space::Unique, Space::Debounce, Space::Schedule];
/// How many registers are read or made in one call.
const PAGE: usize = 500;

/// What the manifest says of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registers {
    /// How many there are.
    pub(crate) registers: u64,
    /// What the file must hold.
    #[serde(flatten)]
    pub(crate) seal: Seal,
}

/// A register as a line. Its version is its store's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterRecord {
    space: String,
    tenant: Tenant,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    value: Value,
}

/// Writes the registers of a store; `None` if there are none.
pub(crate) async fn export(store: &dyn Store, archive: &Path) -> Result<Option<Registers>, ArchiveError> {
    let path = archive.join(REGISTERS);
    let (mut file, mut registers) = (None, 0);
    for space in SPACES {
        let mut after: Option<RegisterKey> = None;
        loop {
            let page = store.list_registers(space, None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            registers += page.len() as u64;
            let mut whole = match file.take() {
                Some(begun) => begun,
                None => NewFile::create(path.clone())?,
            };
            for register in page {
                let line = serde_json::to_vec(&RegisterRecord::of(register));
                let mut line = line.map_err(|error| at(&path)(error.into()))?;
                line.push(b'\n');
                whole.write(&line)?;
            }
            file = Some(whole);
        }
    }
    match file {
        Some(file) => Ok(Some(Registers { registers, seal: file.finish()? })),
        None => Ok(None),
    }
}

/// Makes the registers of an archive in a store, once its jobs are there: a key names its holder, which must not be taken
/// for one that was never stored. What is there stays as it is. Says how many were made.
pub(crate) async fn restore(store: &dyn Store, archive: &Path, registers: &Registers) -> Result<u64, ArchiveError> {
    let swaps = read(archive, registers)?;
    let mut made = 0;
    for some in swaps.chunks(PAGE) {
        let answers = patiently(async || Ok(store.swap(some.to_vec()).await?)).await?;
        made += answers.into_iter().filter(|made| *made).count() as u64;
    }
    Ok(made)
}

/// Reads the file, after making sure that it is what was written.
fn read(archive: &Path, registers: &Registers) -> Result<Vec<Swap>, ArchiveError> {
    let path = archive.join(REGISTERS);
    let bytes = fs::read(&path).map_err(at(&path))?;
    let mut sealer = Sealer::default();
    sealer.update(&bytes);
    if sealer.seal() != registers.seal {
        return Err(damaged(&path, "its length or its SHA-256 is not the one that the manifest says"));
    }
    let line = |line| serde_json::from_slice(line).ok().and_then(RegisterRecord::into_swap);
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let swaps: Option<Vec<Swap>> = lines.map(line).collect();
    let swaps = swaps.filter(|swaps| swaps.len() as u64 == registers.registers);
    swaps.ok_or_else(|| damaged(&path, "its lines are not the registers that the manifest says"))
}

impl RegisterRecord {
    fn of(register: Register) -> Self {
        let Register { key: RegisterKey { space, tenant, name }, version: _, due_at, value } = register;
        Self { space: space.as_str().to_owned(), tenant, name, due_at, value }
    }

    fn into_swap(self) -> Option<Swap> {
        let space = SPACES.into_iter().find(|space| space.as_str() == self.space)?;
        let key = RegisterKey { space, tenant: self.tenant, name: self.name };
        Some(Swap { key, expect: Expect::Absent, to: Some((self.value, self.due_at)) })
    }
}
