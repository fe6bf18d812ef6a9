//! Whether a participant's machine is ready: a line for each thing that has spoilt a workshop, with what to do about it.

use std::{
    env, fs,
    io::{self, IsTerminal},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use notify::{RecursiveMode, Watcher};
use serde::Serialize;

use super::{aside::Aside, kit};
use crate::{
    Refusal,
    cargo::{cargo, followed, last_cause, program},
    catalogue::{case, exercise_files, ghosts},
    checkout::Checkout,
    terminal::{print, print_json, wrapped},
};

/// What everything takes when it is built: 1.3 GB after a preflight with nine ghosts, the book and one exercise among it; each
/// further exercise and each edit come on top.
const NEEDED: u64 = 2 << 30;
/// How long a file event may take.
const EVENT: Duration = Duration::from_secs(3);
/// The least terminal in which reports can be read.
const TERMINAL: (u16, u16) = (80, 24);

/// What came of the preflight.
#[derive(Debug, Serialize)]
struct Preflight {
    schema: u32,
    ready: bool,
    checks: Vec<Check>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    found: String,
    /// What to do about it; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// All is well.
    Ok,
    /// The workshop works, with a detour.
    Note,
    /// It does not work.
    Red,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), todo: None }
    }

    fn note(name: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { name, level: Level::Note, found: found.into(), todo: Some(todo.into()) }
    }

    fn red(name: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { name, level: Level::Red, found: found.into(), todo: Some(todo.into()) }
    }

    fn line(&self) -> String {
        let (style, word) = match self.level {
            Level::Ok => (AnsiColor::Green.on_default(), "ok"),
            Level::Note => (AnsiColor::Yellow.on_default(), "note"),
            Level::Red => (AnsiColor::Red.on_default().bold(), "RED"),
        };
        let found = wrapped(&self.found, &" ".repeat(17));
        let mut line = format!("{style}{word:5}{style:#}{:12}{}", self.name, found.trim_start());
        line.extend(self.todo.iter().map(|todo| wrapped(todo, &" ".repeat(17))));
        line
    }
}

/// Looks at everything and prints a line for each; with a kit, takes the sources from it first.
///
/// # Errors
/// If the kit cannot be taken.
pub fn run(checkout: &Checkout, kit: Option<&Path>, json: bool) -> Result<bool, Refusal> {
    let mut checks: Vec<Check> = Vec::new();
    let mut told = |check: Check| {
        // As soon as it is known: the build takes minutes.
        if !json {
            print(&check.line())?;
        }
        checks.push(check);
        Ok(())
    };
    if let Some(file) = kit {
        let crates = kit::unpack(checkout, file)?;
        told(Check::ok(
            "kit",
            format!("{crates} crates are in vendor/, and .cargo/config.toml tells cargo to use them"),
        ))?;
    }
    let target = target(checkout);
    let first = [toolchain(checkout), disk(&target), clone(checkout, &target)];
    let buildable = first.iter().all(|check| check.level != Level::Red);
    first.into_iter().try_for_each(&mut told)?;
    told(if buildable {
        build(checkout)
    } else {
        Check::red("build", "was not tried", "Fix the red lines above, then run this again.")
    })?;
    told(port("port 3000", 3000, "cargo ghosts serve <slug> --port 0"))?;
    told(port("port 3001", 3001, "cargo run -- book --port 0"))?;
    told(terminal())?;
    told(file_events(checkout))?;
    let red = checks.iter().filter(|check| check.level == Level::Red).count();
    if json {
        print_json(&Preflight { schema: 1, ready: red == 0, checks })?;
    } else {
        print(&match red {
            0 => "\nThis machine is ready.\n".to_owned(),
            1 => "\nOne line is red: this machine is not ready.\n".to_owned(),
            _ => format!("\n{red} lines are red: this machine is not ready.\n"),
        })?;
    }
    Ok(red == 0)
}

/// The folder into which cargo builds.
fn target(checkout: &Checkout) -> PathBuf {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let said = cargo(checkout.root()).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    let told = serde_json::from_slice(&said).map(|metadata: Metadata| metadata.target_directory);
    told.unwrap_or_else(|_| checkout.path("target"))
}

fn toolchain(checkout: &Checkout) -> Check {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    let get = format!("Install Rust {needed} or newer from https://rustup.rs.");
    let mut found = Vec::new();
    for (variable, name) in [("RUSTC", "rustc"), ("CARGO", "cargo")] {
        let output = Command::new(program(variable, name)).arg("--version").current_dir(checkout.root()).output();
        let said = match output {
            Err(error) => return Check::red("toolchain", format!("{name} cannot be started: {error}"), get),
            Ok(output) if !output.status.success() => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Check::red("toolchain", format!("{name} does not work: {said}"), get);
            }
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        };
        let Some(version) = version(&said) else {
            return Check::red("toolchain", format!("{name} does not say its version: {said}"), get);
        };
        if Some(version) < self::version(needed) {
            let todo = format!("{needed} is needed: `rustup update stable`, or {}", get.replacen('I', "i", 1));
            return Check::red("toolchain", said, todo);
        }
        found.push(said.split(" (").next().unwrap_or_default().to_owned());
    }
    Check::ok("toolchain", found.join(", "))
}

/// The first number with a point in a text, such as `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut parts = number.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn disk(target: &Path) -> Check {
    let there = target.ancestors().find(|folder| folder.exists()).unwrap_or(target);
    match fs4::available_space(there) {
        Err(error) => Check::note("disk", format!("cannot be measured: {error}"), "Make sure that 2 GB are free."),
        Ok(free) => enough(free, size(target)),
    }
}

/// Whether a disk with so many free bytes holds the rest of what is built, so many bytes being there.
fn enough(free: u64, built: u64) -> Check {
    let in_gb = |bytes: u64| format!("{:.1} GB", bytes as f64 / (1u64 << 30) as f64);
    let found = format!("{} free, {} built", in_gb(free), in_gb(built));
    if free.saturating_add(built) >= NEEDED {
        return Check::ok("disk", found);
    }
    let todo = format!(
        "A full build takes up to {}: free some space, or point CARGO_TARGET_DIR at a folder on a disk that has \
         enough.",
        in_gb(NEEDED)
    );
    Check::red("disk", found, todo)
}

/// The bytes of the files in a folder; what cannot be read counts nothing.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A folder below that of the exercises.
fn trial(checkout: &Checkout) -> io::Result<Aside> {
    Aside::new(&checkout.exercises(), "preflight")
}

fn clone(checkout: &Checkout, target: &Path) -> Check {
    let todo = "Clone the repository into a folder of your own, and work there. If only the build has to go elsewhere, \
                 point CARGO_TARGET_DIR at a folder for it.";
    let exercises = trial(checkout).and_then(|trial| fs::write(trial.path().join("trial"), "ghosts"));
    let built = fs::create_dir_all(target).and_then(|()| {
        let file = target.join(format!(".preflight-{}", std::process::id()));
        fs::write(&file, "ghosts").and_then(|()| fs::remove_file(file))
    });
    match (exercises, built) {
        (Err(error), _) => Check::red("clone", format!("exercises/ cannot be written: {error}"), todo),
        (_, Err(error)) => Check::red("clone", format!("{} cannot be written: {error}", target.display()), todo),
        _ => Check::ok("clone", "can be written"),
    }
}

/// Fetches what is not there, then builds everything as it will be built without a network.
fn build(checkout: &Checkout) -> Check {
    let begun = Instant::now();
    match built(checkout) {
        Ok(()) => {
            let took = begun.elapsed().as_secs();
            Check::ok("build", format!("everything is here and built, in {took} s; you need no network from here on"))
        }
        Err(check) => check,
    }
}

fn built(checkout: &Checkout) -> Result<(), Check> {
    let cannot = |refusal: Refusal| Check::red("build", refusal.to_string(), "Fix that, then run this again.");
    let run = |folder: &Path, arguments: &[&str], what: &str| followed(folder, arguments, what).map_err(cannot);
    // What only other systems need need not be here.
    let host = host(checkout);
    let fetch = ["fetch", "--locked", "--target", &host];
    if !run(checkout.root(), &[&fetch, &["--offline"] as &[&str]].concat(), "looking for the sources")?.0 {
        let (fetched, said) = run(checkout.root(), &fetch, "fetching what is missing")?;
        if !fetched {
            return Err(unfetched(&said));
        }
    }
    let ghost = &ghosts::ALL[0];
    let trial = case::read(checkout, ghost.slug).and_then(|case| {
        exercise_files::surroundings(checkout)?;
        let unwritten = |error: io::Error| Refusal::new(format!("an exercise cannot be written: {error}"));
        let trial = trial(checkout).map_err(unwritten)?;
        for (name, text) in exercise_files::files(checkout, ghost, &case)? {
            let path = trial.path().join(name);
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text)).map_err(unwritten)?;
        }
        Ok(trial)
    });
    let trial = trial.map_err(cannot)?;
    // The book as a library: Windows does not let cargo replace a program that runs.
    let everything: [(&str, &Path, &[&str]); 3] = [
        (
            "building the workspace, which takes some minutes the first time",
            checkout.root(),
            &["test", "--workspace", "--no-run", "--locked", "--offline"],
        ),
        (
            "building what the book needs",
            checkout.root(),
            &["build", "--package", "ghosts", "--lib", "--features", "book", "--locked", "--offline"],
        ),
        ("building an exercise", trial.path(), &["test", "--no-run", "--offline"]),
    ];
    for (what, folder, arguments) in everything {
        let (succeeded, said) = run(folder, arguments, what)?;
        if !succeeded {
            return Err(unbuilt(arguments[0], &said));
        }
    }
    Ok(())
}

/// The system for which rustc builds.
fn host(checkout: &Checkout) -> String {
    let output = Command::new(program("RUSTC", "rustc")).arg("-vV").current_dir(checkout.root()).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned()
}

fn unfetched(said: &str) -> Check {
    let found = format!("some of the sources are missing, and cannot be fetched: {}", last_cause(said));
    let todo = "Run this again with a network, or take the sources from the trainer's kit: cargo ghosts preflight --kit \
                ghosts-kit.tar.gz";
    Check::red("build", found, todo)
}

fn unbuilt(what: &str, said: &str) -> Check {
    let error = said.lines().find(|line| line.starts_with("error")).unwrap_or("error: cargo said nothing");
    let todo = if said.contains("linker `") && said.contains("not found") {
        "Install a linker: `apt install build-essential`, `xcode-select --install`, or the C++ build tools of Visual \
         Studio."
            .to_owned()
    } else if said.contains("No space left on device") {
        "Free some space, or point CARGO_TARGET_DIR at a folder on a disk that has enough.".to_owned()
    } else {
        format!("`cargo {what} --offline` says more. If you have changed a source, `git stash` puts it back.")
    };
    Check::red("build", error, todo)
}

fn port(name: &'static str, number: u16, instead: &str) -> Check {
    match TcpListener::bind(("127.0.0.1", number)) {
        Ok(_) => Check::ok(name, "is free"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Check::red(name, "is taken", format!("Stop what is listening there, or use another: {instead}"))
        }
        Err(error) => Check::red(name, format!("cannot be used: {error}"), format!("Use another: {instead}")),
    }
}

fn terminal() -> Check {
    let stdout = io::stdout();
    if !stdout.is_terminal() || !io::stdin().is_terminal() {
        let todo = "That is fine here, but `cargo ghosts watch` needs a terminal for its keys.";
        return Check::note("terminal", "this is not one", todo);
    }
    let colour = match AutoStream::choice(&stdout) {
        ColorChoice::Never => "without colour",
        _ => "with colour",
    };
    match crossterm::terminal::size() {
        Err(error) => Check::note("terminal", format!("does not say how large it is: {error}"), "Make it 80 by 24."),
        Ok((columns, rows)) => {
            let found = format!("{columns} by {rows}, {colour}");
            if columns < TERMINAL.0 || rows < TERMINAL.1 {
                return Check::note("terminal", found, "Make it 80 by 24 or larger: reports are that wide.");
            }
            Check::ok("terminal", found)
        }
    }
}

fn file_events(checkout: &Checkout) -> Check {
    match saved(checkout) {
        Ok(true) => Check::ok("file events", "arrive"),
        Ok(false) => no_events("none arrived"),
        Err(error) => no_events(&format!("cannot be had: {error}")),
    }
}

fn no_events(found: &str) -> Check {
    Check::note("file events", found, "Use `cargo ghosts watch --manual-run`, which judges when you press a key.")
}

/// Whether the event of a save arrives.
fn saved(checkout: &Checkout) -> notify::Result<bool> {
    let trial = trial(checkout)?;
    // File events carry the true path.
    let folder = trial.path().canonicalize()?;
    let (tell, told) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| event.kind.is_create() || event.kind.is_modify()) {
            // Nobody listens once it has come.
            let _ = tell.send(());
        }
    })?;
    watcher.watch(&folder, RecursiveMode::Recursive)?;
    fs::write(folder.join("saved.rs"), "// ghosts\n")?;
    Ok(told.recv_timeout(EVENT).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_a_program_says() {
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(version("cargo 1.97.0-nightly (abc 2026-05-01)"), Some((1, 97)));
        assert_eq!(version("1.95"), Some((1, 95)));
        assert_eq!(version("rustc"), None);
        assert!(version("rustc 1.9.0") < version("1.95"));
    }

    #[test]
    fn what_is_built_needs_no_room_any_more() {
        assert_eq!(enough(NEEDED, 0).level, Level::Ok);
        assert_eq!(enough(NEEDED / 2, NEEDED / 2).level, Level::Ok);
        assert_eq!(enough(NEEDED - 1, 0).level, Level::Red);
        let tiny = enough(64 << 20, 0);
        assert_eq!((tiny.level, &*tiny.found), (Level::Red, "0.1 GB free, 0.0 GB built"));
    }

    #[test]
    fn a_taken_port_is_red_and_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        let check = port("port 3000", number, "cargo ghosts serve <slug> --port 0");
        assert_eq!((check.level, &*check.found), (Level::Red, "is taken"));
        drop(taken);
        assert_eq!(port("port 3000", number, "").level, Level::Ok);
    }

    #[test]
    fn a_clone_that_cannot_be_written_is_red() {
        let checkout = Checkout::at(env::temp_dir().join(format!("ghosts-preflight-{}", std::process::id())));
        fs::create_dir_all(checkout.root()).unwrap();
        let (file, target) = (checkout.path("file"), checkout.path("target"));
        fs::write(&file, "").unwrap();
        assert_eq!(clone(&checkout, &target).level, Level::Ok);
        assert!(!checkout.has("exercises"), "the trial is gone");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "the trial is gone");
        let check = clone(&Checkout::at(&file), &target);
        assert_eq!(check.level, Level::Red);
        assert!(check.found.starts_with("exercises/ cannot be written: "), "{check:?}");
        assert!(clone(&checkout, &file.join("target")).found.contains("target cannot be written: "));
        fs::remove_dir_all(checkout.root()).unwrap();
    }

    #[test]
    fn the_event_of_a_save_arrives() {
        let checkout = Checkout::at(env::temp_dir().join(format!("ghosts-preflight-events-{}", std::process::id())));
        assert!(saved(&checkout).unwrap());
        assert!(saved(&Checkout::at("/dev/null")).is_err());
        fs::remove_dir_all(checkout.root()).unwrap();
    }

    #[test]
    fn what_keeps_a_build_back_is_told_with_what_helps() {
        let said = "error: linker `cc` not found\n  |\n  = note: No such file or directory (os error 2)\n";
        assert!(unbuilt("test", said).todo.unwrap().contains("build-essential"));
        let said = "error: could not write output: No space left on device\nerror: could not compile `spec`\n";
        assert!(unbuilt("test", said).todo.unwrap().contains("CARGO_TARGET_DIR"));
        let check = unbuilt("test", "   Compiling spec\nerror[E0308]: mismatched types\n");
        assert_eq!(check.found, "error[E0308]: mismatched types");
        let said = "error: failed to download\n\nCaused by:\n  [6] Could not resolve hostname\n\n";
        let check = unfetched(said);
        assert!(check.found.ends_with("cannot be fetched: [6] Could not resolve hostname"), "{check:?}");
        assert!(check.todo.unwrap().contains("preflight --kit"));
    }

    #[test]
    fn a_line_is_at_most_80_columns_wide() {
        let long = "a word or two ".repeat(20);
        for check in [Check::red("file events", &long, &long), Check::ok("disk", "is there")] {
            for line in anstream::adapter::strip_str(&check.line()).to_string().lines() {
                assert!(line.chars().count() <= 80, "{line:?}");
            }
        }
    }
}
