//! The command line: what can be asked for, and the code that the program ends with.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use gristmill_handlers::{Registry, RegistryError};
use tokio::runtime::{Builder, Runtime};

use crate::{
    demo::{self, DemoOptions},
    ending::{Ending, TROUBLE, USAGE},
    get::{self, GetOptions},
    migrate::{self, MigrateOptions},
    moving::{self, BackupOptions, ExportOptions, ImportOptions},
    serve::{self, ServeOptions},
    submit::{self, SubmitOptions},
    watch::{self, WatchOptions},
};

const OVERVIEW: &str = "\
Try it:
  gristmill demo                                             counts the words of a book and stops again
  gristmill serve                                            runs a server until Ctrl-C
  gristmill submit word_count --text book.txt --wait         in another terminal

Exit codes:
  0   done; a job that was waited for has succeeded
  1   the job has failed
  2   the job was cancelled
  3   something else went wrong: no server, a refused request, a bad setting
  64  the command line is not understood";

/// Gristmill runs jobs: hand it work over HTTP, watch it, fetch the result.
#[derive(Debug, Parser)]
#[command(name = "gristmill", version, after_help = OVERVIEW, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeOptions),
    Submit(SubmitOptions),
    Get(GetOptions),
    Watch(WatchOptions),
    Demo(DemoOptions),
    Backup(BackupOptions),
    Export(ExportOptions),
    Import(ImportOptions),
    Migrate(MigrateOptions),
}

/// Reads the command line, does what it says, and tells how it went. A server runs these handlers: those that come
/// with Gristmill, or a program's own beside them.
#[must_use]
pub fn main(handlers: Result<Registry, RegistryError>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.run(handlers) {
        Ok(ending) => ending.code().into(),
        // `gristmill get ... | head` has what it wanted.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            TROUBLE.into()
        }
    }
}

impl Cli {
    fn run(self, handlers: Result<Registry, RegistryError>) -> anyhow::Result<Ending> {
        let runtime = self.runtime()?;
        let ending = runtime.block_on(async {
            match self.command {
                Command::Serve(options) => serve::run(options, handlers?).await.map(|()| Ending::Done),
                Command::Submit(options) => submit::run(options).await,
                Command::Get(options) => get::run(options).await.map(|()| Ending::Done),
                Command::Watch(options) => watch::run(options).await,
                Command::Demo(options) => demo::run(options).await.map(|()| Ending::Done),
                Command::Backup(options) => moving::backup(options).await.map(|()| Ending::Done),
                Command::Export(options) => moving::export(options).await.map(|()| Ending::Done),
                Command::Import(options) => moving::import(options).await.map(|()| Ending::Done),
                Command::Migrate(options) => migrate::run(options).await.map(|()| Ending::Done),
            }
        });
        // A thread that still reads from a silent stdin must not hold up the end.
        runtime.shutdown_timeout(Duration::from_millis(100));
        ending
    }

    /// A server uses every core, and so does an import, whose store must answer while files are read; a client needs
    /// one thread.
    fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = match self.command {
            Command::Serve(_) | Command::Export(_) | Command::Import(_) => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        builder.enable_all().build()
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            let example = format!("gristmill {}", command.get_name());
            assert!(help.contains("Examples:") && help.contains(&example), "{help}");
        }
    }

    #[test]
    fn what_belongs_apart_is_refused_together() {
        let id = "job_01jd8000000000000000000000";
        for good in ["submit x --payload {}", "submit x --text - --tag a --tag b --wait", &format!("get {id} --result")]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "submit",
            "submit x --payload {} --text -",
            "submit x --payload {} --payload-file f",
            "submit x --priority urgent",
            "submit x --delay-ms soon",
            "submit Bad! --wait",
            "get",
            "get job_1",
            "watch nothing",
            "serve --listen here",
            "backup --to there",
            "export --data here",
            "import --from there --store nowhere",
            "migrate --store nowhere",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(format!("gristmill {line}").split(' '))
    }
}
