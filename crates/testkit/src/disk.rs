//! A disk of a test's own, which may be full, and read-only.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::ProcessBuilder;

/// A disk that only the programs started on it see, in a mount namespace that a process holds as long as this lives.
/// Programs on it must be gone before it is dropped.
#[derive(Debug)]
pub struct Disk {
    holder: Child,
    medium: Medium,
    folder: TempDir,
}

/// What it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    /// A tmpfs.
    Memory,
    /// An ext4 within a file.
    File,
}

/// The folder where it is mounted, and the file that it is made of, within a folder of its own.
const MOUNTED: &str = "disk";
const IMAGE: &str = "image";

impl Disk {
    /// A disk of this many megabytes in memory: for everybody, if the system lets its users have namespaces.
    ///
    /// # Errors
    /// It does not.
    pub fn in_memory(megabytes: u32) -> anyhow::Result<Self> {
        Self::mounted(Medium::Memory, &format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\""))
    }

    /// A disk of this many megabytes in a file, which can become read-only under those who write to it.
    ///
    /// # Errors
    /// The system has no loop devices or no ext4, or has none for this user.
    pub fn in_a_file(megabytes: u32) -> anyhow::Result<Self> {
        let make = format!("truncate -s {megabytes}M \"$1\" && mkfs.ext4 -q \"$1\" && mount -o loop \"$1\" \"$0\"");
        Self::mounted(Medium::File, &make)
    }

    fn mounted(medium: Medium, mount: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("disk-").tempdir()?;
        std::fs::create_dir(folder.path().join(MOUNTED))?;
        let own_user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
        let script = format!("{mount} && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args(own_user).arg("--mount");
        shell(&mut command, &script, folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let holder = command.spawn().context("there is no unshare")?;
        let mut disk = Self { holder, medium, folder };
        let mut said = String::new();
        if let Some(stdout) = disk.holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        ensure!(said.trim_end() == "mounted", "this system does not let us have a disk of our own");
        Ok(disk)
    }

    /// Where it is for the programs on it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(MOUNTED)
    }

    /// The same place for everybody else.
    #[must_use]
    pub fn seen(&self) -> PathBuf {
        format!("/proc/{}/root{}", self.holder.id(), self.path().display()).into()
    }

    /// Whether it can become read-only while somebody has files open there for writing.
    #[must_use]
    pub fn can_fail_under_way(&self) -> bool {
        self.medium == Medium::File
    }

    /// Makes it read-only: an ext4 as when it finds an error, whoever writes there, and a tmpfs when nobody does.
    ///
    /// # Errors
    /// It is in use.
    pub fn turn_read_only(&self) -> anyhow::Result<()> {
        self.within(match self.medium {
            Medium::Memory => "mount -o remount,bind,ro \"$0\"",
            Medium::File => "mount -o remount,abort \"$0\"",
        })
    }

    /// Makes it writable again. Nobody may use it meanwhile.
    ///
    /// # Errors
    /// It is in use.
    pub fn turn_writable(&self) -> anyhow::Result<()> {
        self.within(match self.medium {
            Medium::Memory => "mount -o remount,bind,rw \"$0\"",
            Medium::File => "umount \"$0\" && mount -o loop \"$1\" \"$0\"",
        })
    }

    /// A program that sees it.
    pub(crate) fn enter(&self, program: &Path) -> ProcessBuilder {
        let enter = self.nsenter().into_iter().fold(ProcessBuilder::new("nsenter"), ProcessBuilder::argument);
        enter.argument(program)
    }

    fn nsenter(&self) -> Vec<String> {
        let mut all = vec!["--target".to_owned(), self.holder.id().to_string(), "--mount".to_owned()];
        if !is_root() {
            all.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        all
    }

    fn within(&self, script: &str) -> anyhow::Result<()> {
        let mut command = Command::new("nsenter");
        command.args(self.nsenter());
        let ran = shell(&mut command, script, self.folder.path()).output().context("there is no nsenter")?;
        ensure!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// With `$0` where it is mounted, and `$1` what it is made of.
fn shell<'a>(command: &'a mut Command, script: &str, folder: &Path) -> &'a mut Command {
    let script = format!("PATH=$PATH:/usr/sbin:/sbin; {script}");
    command.args(["sh", "-c", &script]).arg(folder.join(MOUNTED)).arg(folder.join(IMAGE))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
