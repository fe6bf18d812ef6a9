//! The rules for Prometheus, judged by its own tool. Behind the feature `end-to-end`: it needs a program from outside.

use std::{fs, path::Path, process::Command, time::Duration};

use instruments::Alerts;

fn promtool(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output();
    let output = output.expect("promtool starts: install the package prometheus");
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    told.into_owned()
}

#[test]
fn the_shipped_rules_fire_and_stay_quiet_as_their_tests_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    let told = promtool(&folder, &["check", "rules", "rules.yml"]);
    assert!(told.contains("7 rules found"), "{told}");
    promtool(&folder, &["test", "rules", "rules.test.yml"]);
}

#[test]
fn rules_of_other_windows_and_probes_are_rules() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let quick = Alerts::new("/health").windows(Duration::from_secs(10), Duration::from_secs(60)).error_ratio(0.5);
    let quick = quick.at_least(Duration::from_millis(100));
    for (name, alerts) in [("quick.yml", quick), ("hostile.yml", Alerts::new("/\"} or vector(1) #\\"))] {
        fs::write(folder.join(name), alerts.rules()).expect("the folder is there");
        promtool(folder, &["check", "rules", name]);
    }
}
