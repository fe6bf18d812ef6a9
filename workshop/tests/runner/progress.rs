//! A writer of progress is killed at any moment: every event that it was told is written is there.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use ghosts::{
    checkout::Checkout,
    progress::{self, Deed, Event},
};

/// The folder of the clone to write to; set in writers only.
const FOLDER: &str = "GHOSTS_PROGRESS_OF_A_WRITER";
const KILLS: usize = 100;

#[test]
fn a_writer_that_is_killed_loses_no_event() {
    let name = "progress::a_writer_that_is_killed_loses_no_event";
    if let Some(folder) = env::var_os(FOLDER) {
        write_for_ever(&Checkout::at(folder));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("killed");
    // What an interrupted run has left.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder of our own");
    let mut written = Vec::new();
    for kill in 0..KILLS {
        let mut writer = Command::new(env::current_exe().expect("this binary"))
            .args(["--exact", name, "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary again");
        let lines = BufReader::new(writer.stdout.take().expect("it is piped")).lines();
        let mut told = lines.map_while(Result::ok).filter(|line| line.starts_with("written "));
        // The writer is somewhere in the next one when it is killed, each time a little further on.
        written.extend(told.by_ref().take(1 + kill % 7));
        writer.kill().expect("it never ends by itself");
        written.extend(told);
        writer.wait().expect("it is our child");
    }
    let progress = progress::read(&Checkout::at(&folder)).expect("what was written");
    let there: Vec<&str> = progress.events.iter().map(|event| event.slug.as_str()).collect();
    for slug in written.iter().map(|line| line.trim_start_matches("written ")) {
        assert!(there.contains(&slug), "{slug} is lost");
    }
    assert!(written.len() >= KILLS);
    assert!(progress.unreadable.len() <= KILLS, "a kill tears one line at most: {:?}", progress.unreadable);
    fs::remove_dir_all(folder).expect("a folder of our own");
}

fn write_for_ever(checkout: &Checkout) -> ! {
    for number in 0.. {
        let slug = format!("event-{}-{number}", std::process::id());
        progress::append(checkout, &Event::now(&slug, Deed::Hint { rung: 1 })).expect("a line");
        println!("written {slug}");
        std::io::stdout().flush().expect("the parent reads");
    }
    unreachable!("numbers do not end")
}
