//! The kit: the repository and every source from outside in one file, for a room on a bad network.
//!
//! A kit is a gzipped tar with one folder in it. Unpacked by itself it is a clone that builds without a network. With
//! `preflight --kit` a clone that is there takes the sources from it, and nothing else: not its configuration, which could
//! start programs.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Component, Path, PathBuf},
    process::{Child, Command, Stdio},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::Serialize;
use tar::{Archive, Builder, EntryType, Header};

use super::aside::Aside;
use crate::{
    Refusal,
    cargo::{followed, last_cause},
    checkout::{Checkout, names_in, unwritable},
    terminal::{print, print_json},
};

/// The one folder of a kit.
const FOLDER: &str = "ghosts-kit";
/// The name of the folder in which it is gathered and taken apart.
const KIND: &str = "kit";
/// What tells cargo of the sources. A file that it includes would say more, but a cargo that is too old fails at that, and
/// then says nothing of its age.
const CONFIG: &str = ".cargo/config.toml";
const SETTING: &str = r#"
# The sources of a kit: no network is needed.
[source.crates-io]
replace-with = "kit"

[source.kit]
directory = "vendor"

[net]
offline = true
"#;
/// Where the sources are, below the root.
const SOURCES: &str = "vendor";
/// No kit unpacks to more than this; ours has a quarter of it.
const LARGEST: u64 = 1 << 30;

#[derive(Serialize)]
struct Packed<'a> {
    schema: u32,
    file: String,
    commit: &'a str,
    crates: usize,
    bytes: u64,
}

/// Packs the last commit and all sources into `file`.
///
/// # Errors
/// If the file is there, the clone has changes that are in no commit, or git, cargo or the disk fail. Nothing is left then.
pub fn run(checkout: &Checkout, file: &Path, json: bool) -> Result<bool, Refusal> {
    let shown = file.display();
    if fs::symlink_metadata(file).is_ok() {
        return Err(Refusal::new(format!("{shown} already exists; remove it, or name another file")));
    }
    // A repository round this folder may know nothing of it.
    if git(checkout, &["ls-tree", "HEAD", "Cargo.lock"])?.is_empty() {
        let around = git(checkout, &["rev-parse", "--show-toplevel"])?;
        return Err(Refusal::new(format!(
            "a kit is made from a git clone, and this folder is not one: it only lies inside that of {}; clone the \
             repository, and make the kit there",
            around.trim()
        )));
    }
    let changed = git(checkout, &["status", "--porcelain", "--untracked-files=no", "--", "."])?;
    if let Some(first) = changed.lines().next() {
        let name = first.get(3..).unwrap_or(first);
        return Err(Refusal::new(format!(
            "a kit is made from the last commit, and {name} has changes that are not in it; commit them, or `git \
             stash`"
        )));
    }
    let commit = git(checkout, &["rev-parse", "HEAD"])?.trim().to_owned();
    let time = git(checkout, &["show", "--no-patch", "--format=%ct", "HEAD"])?;
    let time = time.trim().parse().map_err(|_| Refusal::new("git does not say when the last commit was made"))?;
    let (beside, gathered) = (beside(file), Aside::new(checkout.root(), KIND));
    let gathered = gathered.map_err(|error| unwritable("a folder for the sources", &error))?;
    let packed = gather(checkout, &gathered.path().join(SOURCES)).and_then(|()| {
        pack(checkout, gathered.path(), &commit, time, &beside)
            .and_then(|()| fs::rename(&beside, file))
            .map_err(|error| Refusal::new(format!("cannot write {shown}: {error}; nothing was left behind")))
    });
    let crates = names_in(&gathered.path().join(SOURCES)).len();
    // What is left of it is in the way of nothing.
    let _ = fs::remove_file(&beside);
    packed?;
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    if json {
        print_json(&Packed { schema: 1, file: shown.to_string(), commit: &commit, crates, bytes })?;
    } else {
        print(&format!(
            "{shown}: commit {}, {crates} crates, {} MB\n\nA participant who has Rust needs no network:\n\n  \
             tar xzf {name}\n  cd {FOLDER}\n  cargo ghosts preflight\n\nIn a clone of the same commit: cargo ghosts preflight --kit {name}\n",
            commit.get(..12).unwrap_or(&commit),
            bytes.div_ceil(1 << 20),
            name = file.file_name().unwrap_or_default().display()
        ))?;
    }
    Ok(true)
}

/// The name under which a file is written until it is whole.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn git(checkout: &Checkout, arguments: &[&str]) -> Result<String, Refusal> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(checkout.root())
        .output()
        .map_err(|error| Refusal::new(format!("a kit is made with git, and git cannot be started: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        return Err(Refusal::new(format!("a kit is made from a git clone, and git says: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Every crate of the lock file, for every platform and feature.
fn gather(checkout: &Checkout, into: &Path) -> Result<(), Refusal> {
    let into = into.to_string_lossy();
    let vendor = ["vendor", "--locked", "--versioned-dirs", "--respect-source-config", &into];
    let (succeeded, said) = followed(checkout.root(), &vendor, "gathering the sources")?;
    if succeeded {
        return Ok(());
    }
    let cause = last_cause(&said);
    Err(Refusal::new(format!(
        "cargo cannot gather the sources: {cause}; it needs a network, and a clone that it can write to"
    )))
}

fn pack(checkout: &Checkout, gathered: &Path, commit: &str, time: u64, file: &Path) -> io::Result<()> {
    let mut kit = Builder::new(GzEncoder::new(BufWriter::new(File::create(file)?), Compression::default()));
    let mut archive: Child = Command::new("git")
        .args(["archive", "--format=tar", &format!("--prefix={FOLDER}/"), commit])
        .current_dir(checkout.root())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut tar) = archive.stdout.take() {
        for entry in Archive::new(&mut tar).entries()? {
            let mut entry = entry?;
            let mut header = entry.header().clone();
            // The commit itself, as git writes it in front, is no file.
            if matches!(header.entry_type(), EntryType::Regular | EntryType::Directory) {
                let path = entry.path()?.into_owned();
                if path == Path::new(FOLDER).join(CONFIG) {
                    let mut config = String::new();
                    entry.read_to_string(&mut config)?;
                    let config = with_setting(config);
                    header.set_size(config.len() as u64);
                    kit.append_data(&mut header, path, config.as_bytes())?;
                } else {
                    kit.append_data(&mut header, path, entry)?;
                }
            }
        }
        // The last entry is not the end: git fills up a block of 10 KiB, and fails if nobody reads it.
        io::copy(&mut tar, &mut io::sink())?;
    }
    if !archive.wait()?.success() {
        return Err(io::Error::other("git could not write its archive"));
    }
    add_folder(&mut kit, &gathered.join(SOURCES), &Path::new(FOLDER).join(SOURCES), time)?;
    kit.into_inner()?.finish()?.flush()
}

/// The same for every file, whoever packs it.
fn header(size: u64, time: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(time);
    header.set_size(size);
    header
}

fn add_folder(kit: &mut Builder<impl Write>, folder: &Path, path: &Path, time: u64) -> io::Result<()> {
    for name in names_in(folder) {
        let (from, to) = (folder.join(&name), path.join(&name));
        if from.is_dir() {
            add_folder(kit, &from, &to, time)?;
        } else {
            let file = File::open(&from)?;
            let mut header = header(file.metadata()?.len(), time);
            kit.append_data(&mut header, to, file)?;
        }
    }
    Ok(())
}

/// Takes the sources of a kit into the clone, so that cargo needs no network from now on.
///
/// # Errors
/// If the kit is none, is of another state of the clone, has a path that leads out of it, or cannot be unpacked. The clone is
/// then as it was.
pub fn unpack(checkout: &Checkout, file: &Path) -> Result<usize, Refusal> {
    let shown = file.display();
    let lock = looked_through(file)?;
    let own = fs::read(checkout.path("Cargo.lock"));
    let own = own.map_err(|error| Refusal::new(format!("cannot read Cargo.lock: {error}")))?;
    if own != lock {
        return Err(Refusal::new(format!(
            "{shown} is from another commit: its Cargo.lock differs; unpack it on its own (tar xzf {shown}) and work \
             in {FOLDER}/"
        )));
    }
    // On the disk of the clone, so that what is whole can be moved to its place.
    let unpacked = Aside::new(checkout.root(), KIND).and_then(|aside| {
        let (sources, aside) = (checkout.path(SOURCES), aside.path());
        take(file, aside)?;
        if sources.exists() {
            fs::rename(&sources, aside.join("old"))?;
        }
        fs::rename(aside.join(SOURCES), &sources)?;
        let config = with_setting(fs::read_to_string(checkout.path(CONFIG))?);
        fs::write(aside.join("config"), config)?;
        fs::rename(aside.join("config"), checkout.path(CONFIG))
    });
    unpacked.map_err(|error| Refusal::new(format!("cannot unpack {shown}: {error}")))?;
    Ok(checkout.names(SOURCES).len())
}

/// A configuration of cargo with the setting, once.
fn with_setting(config: String) -> String {
    if config.contains(SETTING.trim()) { config } else { config + SETTING }
}

fn opened(file: &Path) -> io::Result<Archive<GzDecoder<BufReader<File>>>> {
    Ok(Archive::new(GzDecoder::new(BufReader::new(File::open(file)?))))
}

/// The lock file of a kit of which every entry is a file or a folder in its place.
fn looked_through(file: &Path) -> Result<Vec<u8>, Refusal> {
    let shown = file.display();
    let none = |error: io::Error| Refusal::new(format!("{shown} is not a kit: {error}"));
    let (mut lock, mut size) = (None, 0_u64);
    let mut archive = opened(file).map_err(none)?;
    for entry in archive.entries().map_err(none)? {
        let mut entry = entry.map_err(none)?;
        let path = entry.path().map_err(none)?.into_owned();
        let plain = matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Directory);
        if !plain || !in_place(&path) {
            let path = path.to_string_lossy().escape_debug().to_string();
            return Err(Refusal::new(format!("{shown} is not a kit: `{path}` is a link or leads out of it")));
        }
        size = size.saturating_add(entry.size());
        if size > LARGEST {
            return Err(Refusal::new(format!("{shown} is not a kit: it unpacks to more than 1 GB")));
        }
        if path == Path::new(FOLDER).join("Cargo.lock") {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(none)?;
            lock = Some(text);
        }
    }
    lock.ok_or_else(|| Refusal::new(format!("{shown} is not a kit: it has no {FOLDER}/Cargo.lock")))
}

/// Whether a path stays in the one folder of a kit.
fn in_place(path: &Path) -> bool {
    path.starts_with(FOLDER) && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Unpacks the sources, which were looked through.
fn take(file: &Path, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into.join(SOURCES))?;
    for entry in opened(file)?.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Ok(below) = path.strip_prefix(FOLDER) else { continue };
        if below.starts_with(SOURCES) && in_place(&path) && entry.header().entry_type() == EntryType::Regular {
            let to = into.join(below);
            to.parent().map_or(Ok(()), fs::create_dir_all)?;
            // Bit by bit, so that neither times nor rights nor owners come from the archive.
            io::copy(&mut entry, &mut File::create(to)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &[u8] = b"version = 4\n";
    const OWN: &str = "[alias]\nghosts = \"run\"\n";

    /// A folder that looks like a clone, and is removed with the value.
    struct Clone(Checkout);

    impl Clone {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ghosts-kit-{}-{name}", std::process::id()));
            let checkout = Checkout::at(folder);
            fs::create_dir_all(checkout.path(".cargo")).unwrap();
            fs::write(checkout.path("Cargo.lock"), LOCK).unwrap();
            fs::write(checkout.path(CONFIG), OWN).unwrap();
            Self(checkout)
        }

        /// A kit with the lock file and these entries, whatever their paths and kinds.
        fn kit(&self, entries: &[(&str, EntryType, &[u8])]) -> PathBuf {
            let file = self.0.path("kit.tar.gz");
            let mut kit = Builder::new(GzEncoder::new(File::create(&file).unwrap(), Compression::fast()));
            let lock = ("ghosts-kit/Cargo.lock", EntryType::Regular, LOCK);
            for (path, kind, data) in [lock].iter().chain(entries) {
                let mut header = header(data.len() as u64, 0);
                // `set_path` does not let a bad path through.
                header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_entry_type(*kind);
                header.set_cksum();
                kit.append(&header, *data).unwrap();
            }
            kit.into_inner().unwrap().finish().unwrap();
            file
        }

        fn refused(&self, kit: &Path) -> String {
            let said = unpack(&self.0, kit).unwrap_err().to_string();
            assert_eq!(fs::read_to_string(self.0.path(CONFIG)).unwrap(), OWN);
            let mut there = names_in(self.0.root());
            there.retain(|name| name != "kit.tar.gz");
            assert_eq!(there, [".cargo", "Cargo.lock"], "the clone is as it was");
            said
        }
    }

    impl Drop for Clone {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.root());
        }
    }

    #[test]
    fn the_sources_of_a_kit_are_taken_and_nothing_else() {
        let clone = Clone::new("taken");
        let kit = clone.kit(&[
            ("ghosts-kit/.cargo/config.toml", EntryType::Regular, b"[build]\nrustc-wrapper = \"evil\"\n"),
            ("ghosts-kit/vendor/", EntryType::Directory, b""),
            ("ghosts-kit/vendor/bytes-1.12.0/src/lib.rs", EntryType::Regular, b"// bytes\n"),
        ]);
        fs::create_dir_all(clone.0.path("vendor/old-1.0.0")).unwrap();
        for _ in 0..2 {
            assert_eq!(unpack(&clone.0, &kit).unwrap(), 1);
            assert_eq!(clone.0.names(SOURCES), ["bytes-1.12.0"]);
            let lib = clone.0.path("vendor/bytes-1.12.0/src/lib.rs");
            assert_eq!(fs::read_to_string(lib).unwrap(), "// bytes\n");
            assert_eq!(fs::read_to_string(clone.0.path(CONFIG)).unwrap(), format!("{OWN}{SETTING}"));
        }
        assert_eq!(names_in(clone.0.root()), [".cargo", "Cargo.lock", "kit.tar.gz", "vendor"]);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let clone = Clone::new("out");
        for path in ["ghosts-kit/vendor/../../../evil", "../evil", "/tmp/evil", "evil", "ghosts-kit/../vendor/evil"] {
            let said = clone.refused(&clone.kit(&[(path, EntryType::Regular, b"evil")]));
            assert!(
                said.ends_with(&format!("kit.tar.gz is not a kit: `{path}` is a link or leads out of it")),
                "{said}"
            );
        }
    }

    #[test]
    fn links_and_devices_are_refused() {
        let clone = Clone::new("links");
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
            let said = clone.refused(&clone.kit(&[("ghosts-kit/vendor/evil", kind, b"")]));
            assert!(said.contains("`ghosts-kit/vendor/evil` is a link or leads out of it"), "{said}");
        }
    }

    #[test]
    fn a_file_that_unpacks_without_end_is_refused() {
        let clone = Clone::new("bomb");
        let file = clone.0.path("kit.tar.gz");
        let mut kit = Builder::new(GzEncoder::new(File::create(&file).unwrap(), Compression::fast()));
        kit.append_data(&mut header(LARGEST + 1, 0), "ghosts-kit/vendor/zeros", io::repeat(0).take(512)).unwrap();
        kit.into_inner().unwrap().finish().unwrap();
        assert!(clone.refused(&file).ends_with("it unpacks to more than 1 GB"));
    }

    #[test]
    fn what_is_no_kit_is_refused() {
        let clone = Clone::new("none");
        let file = clone.0.path("kit.tar.gz");
        assert!(clone.refused(&file).contains("kit.tar.gz is not a kit: "));
        for bytes in [b"" as &[u8], b"noise", b"\x1f\x8b\x08\0\0\0\0\0"] {
            fs::write(&file, bytes).unwrap();
            assert!(clone.refused(&file).contains("kit.tar.gz is not a kit: "));
        }
        let whole = fs::read(clone.kit(&[("ghosts-kit/vendor/a", EntryType::Regular, &[7; 9000])])).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert!(clone.refused(&file).contains("kit.tar.gz is not a kit: "));
    }

    #[test]
    fn a_kit_of_another_commit_is_refused_with_what_to_do() {
        let clone = Clone::new("other");
        let kit = clone.kit(&[]);
        fs::write(clone.0.path("Cargo.lock"), "version = 5\n").unwrap();
        let said = clone.refused(&kit);
        assert!(
            said.contains("kit.tar.gz is from another commit: its Cargo.lock differs; unpack it on its own"),
            "{said}"
        );
    }

    #[test]
    fn a_kit_is_not_written_over_a_file_and_not_made_without_git() {
        let clone = Clone::new("git");
        let there = clone.kit(&[]);
        let said = run(&clone.0, &there, false).unwrap_err().to_string();
        assert!(said.ends_with("kit.tar.gz already exists; remove it, or name another file"), "{said}");
        let said = run(&clone.0, &clone.0.path("new.tar.gz"), false).unwrap_err().to_string();
        assert!(said.starts_with("a kit is made from a git clone, and git says: "), "{said}");
        assert!(!clone.0.path("new.tar.gz").exists());
    }

    #[test]
    fn a_repository_round_the_folder_is_not_taken_for_a_clone() {
        let around = Clone::new("around");
        let git = |arguments: &[&str]| {
            let nobody = ["-c", "user.name=nobody", "-c", "user.email=nobody@ghost.test"];
            let git = Command::new("git").args(nobody).args(arguments).current_dir(around.0.root()).output().unwrap();
            assert!(git.status.success(), "{arguments:?}: {git:?}");
        };
        git(&["init", "--quiet"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "another's"]);
        let unzipped = Checkout::at(around.0.path("unzipped"));
        fs::create_dir_all(unzipped.root()).unwrap();
        fs::write(unzipped.path("Cargo.lock"), LOCK).unwrap();
        let said = run(&unzipped, &around.0.path("new.tar.gz"), false).unwrap_err().to_string();
        assert!(
            said.starts_with("a kit is made from a git clone, and this folder is not one: it only lies inside "),
            "{said}"
        );
        assert!(!around.0.path("new.tar.gz").exists());
    }
}
