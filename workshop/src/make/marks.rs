//! The marks in the twins' sources: the lines that a picture and a chapter speak of.
//!
//! A mark is an anchor: `mark-order`, `mark-2` or `mark-2-order`. The picture shows its lines beside the step of that name, and in
//! the chapter's listing that number stands above them, so that the text can speak of it. A long listing comes in several steps.

use crate::{Refusal, checkout::Checkout};

/// How the name of an anchor begins that is a mark.
const PREFIX: &str = "mark-";

/// Lines of a source, and their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) code: String,
}

/// The marks of a twin, from the tree `cases` or `fixed`.
///
/// # Errors
/// If a source cannot be read, or a mark has no end.
pub(super) fn of(checkout: &Checkout, tree: &str, slug: &str) -> Result<Vec<Mark>, Refusal> {
    let mut marks = Vec::new();
    for file in ["lib", "shared"] {
        let name = format!("{tree}/{slug}/src/{file}.rs");
        if checkout.has(&name) {
            let read = read(&checkout.text(&name)?).map_err(|why| Refusal::new(format!("{name}: {why}")))?;
            marks.extend(read);
        }
    }
    Ok(marks)
}

fn read(source: &str) -> Result<Vec<Mark>, String> {
    let mut marks = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let Some(mark) = mark(line) else { continue };
        let end = format!("// ANCHOR_END: {PREFIX}{mark}");
        let rest: Vec<&str> = source.lines().skip(number + 1).collect();
        let length = rest.iter().position(|line| line.trim() == end);
        let length = length.ok_or_else(|| format!("the mark `{PREFIX}{mark}` has no `{end}`"))?;
        let lines = rest.into_iter().take(length).filter(|line| !line.trim_start().starts_with("// ANCHOR"));
        let name = numbered(mark).1.to_owned();
        marks.push(Mark { name, code: dedented(&lines.collect::<Vec<_>>()) });
    }
    Ok(marks)
}

/// The mark that begins with this line.
fn mark(line: &str) -> Option<&str> {
    line.trim().strip_prefix("// ANCHOR: ")?.strip_prefix(PREFIX)
}

/// The number of a mark, and its name, which is empty where it has none.
fn numbered(mark: &str) -> (Option<u8>, &str) {
    let (first, rest) = mark.split_once('-').unwrap_or((mark, ""));
    first.parse().map_or((None, mark), |number| (Some(number), rest))
}

/// The longest listing that a chapter shows in one piece.
pub(super) const LONGEST: usize = 25;

/// The listing of an anchor in steps: whole items, as many as fit into one, each mark with its number above it. None where the
/// source has no such anchor, or where it is short and has no numbers.
pub(super) fn listing(source: &str, anchor: &str) -> Option<Vec<String>> {
    let is = |mark: &str, line: &str| line.trim() == format!("// {mark}: {anchor}");
    let lines = source.lines().skip_while(|line| !is("ANCHOR", line)).skip(1);
    let (mut code, mut number) = (Vec::new(), None);
    for line in lines.take_while(|line| !is("ANCHOR_END", line)) {
        if let Some(mark) = mark(line) {
            number = numbered(mark).0.or(number);
        } else if !line.trim_start().starts_with("// ANCHOR") {
            // Above the line and not behind it, where a narrow page would hide it.
            if let Some(number) = number.take() {
                let indent = &line[..line.len() - line.trim_start().len()];
                code.push(format!("{indent}// {}", circled(number)));
            }
            code.push(line.to_owned());
        }
    }
    if code.len() <= LONGEST && !code.iter().any(|line| numbers(line).next().is_some()) {
        return None;
    }
    let code = dedented(&code.iter().map(String::as_str).collect::<Vec<_>>());
    let mut steps: Vec<String> = Vec::new();
    // An item begins after an empty line, and at the margin.
    for item in items(&code) {
        match steps.last_mut() {
            Some(step) if step.lines().count() + 1 + item.lines().count() <= LONGEST => {
                step.push('\n');
                step.push_str(&item);
            }
            _ => steps.push(item),
        }
    }
    Some(steps)
}

fn items(code: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    let mut after_empty = true;
    for line in code.lines() {
        let begins = after_empty && !line.starts_with([' ', '}']) && !line.is_empty();
        match items.last_mut() {
            Some(item) if !begins => item.push_str(&format!("{line}\n")),
            _ => items.push(format!("{line}\n")),
        }
        after_empty = line.is_empty();
    }
    items.into_iter().map(|item| format!("{}\n", item.trim_end())).collect()
}

/// A number in a circle: ① to ⑨.
fn circled(number: u8) -> char {
    char::from_u32(u32::from('①') - 1 + u32::from(number)).unwrap_or('?')
}

/// The numbers in circles of a text.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|letter| ('①'..='⑨').contains(letter))
}

/// The lines without the space that all of them begin with.
pub(super) fn dedented(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let least = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(least..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_its_lines_without_their_indent() {
        let source = "fn f() {\n    // ANCHOR: mark-in\n    // ANCHOR: other\n    if a {\n        b();\n    }\n    \
                      // ANCHOR_END: mark-in\n}\n";
        assert_eq!(read(source).unwrap(), [Mark { name: "in".to_owned(), code: "if a {\n    b();\n}".to_owned() }]);
    }

    #[test]
    fn a_mark_with_a_number_has_it_above_its_lines() {
        let source = "// ANCHOR: fix\nfn f() {\n    // ANCHOR: mark-2-in\n    a();\n    b();\n    // ANCHOR_END: mark-2-in\n}\n\
                      // ANCHOR_END: fix\n";
        assert_eq!(read(source).unwrap(), [Mark { name: "in".to_owned(), code: "a();\nb();".to_owned() }]);
        assert_eq!(listing(source, "fix").unwrap(), ["fn f() {\n    // ②\n    a();\n    b();\n}\n"]);
        assert_eq!(listing(source, "defect"), None);
    }

    #[test]
    fn a_long_listing_comes_in_steps_of_whole_items() {
        let item = |name: &str| format!("fn {name}() {{\n{}}}\n", "    a();\n\n".repeat(5));
        let all = ["f", "g", "h"].map(item);
        let source = format!("// ANCHOR: fix\n{}// ANCHOR_END: fix\n", all.join("\n"));
        assert_eq!(listing(&source, "fix").unwrap(), [format!("{}\n{}", all[0], all[1]), all[2].clone()]);
        assert_eq!(listing("// ANCHOR: fix\nfn f() {}\n// ANCHOR_END: fix\n", "fix"), None);
    }

    #[test]
    fn a_mark_without_an_end_is_refused() {
        let said = read("// ANCHOR: mark-in\nb();\n").unwrap_err();
        assert_eq!(said, "the mark `mark-in` has no `// ANCHOR_END: mark-in`");
    }
}
