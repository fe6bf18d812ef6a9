use std::time::Duration;

use instruments::Alerts;

#[test]
fn the_shipped_rules_are_what_the_template_makes() {
    let shipped = include_str!("../../alerts/rules.yml").replace("\r\n", "\n");
    let (comment, rules) = shipped.split_once("\n\n").unwrap();
    assert!(comment.lines().all(|line| line.starts_with('#')));
    assert_eq!(rules, Alerts::new("/health").rules());
}

#[test]
fn a_probe_with_signs_of_its_own_stays_a_string() {
    let rules = Alerts::new("/\"} or vector(1) #\\").rules();
    assert!(rules.contains(r#"route="/\"} or vector(1) #\\""#), "{rules}");
}

#[test]
fn windows_shrink_together() {
    let rules = Alerts::new("/health").windows(Duration::from_secs(10), Duration::from_secs(60)).rules();
    for part in ["[10s]", "[1m]", "[1m] offset 10s", "[10s] offset 12s", "for: 4s", "for: 20s"] {
        assert!(rules.contains(part), "{part}");
    }
    assert!(!rules.contains("5m") && !rules.contains("30m"));
}
