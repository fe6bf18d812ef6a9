//! What the pictures share. They are plain enough to be written by hand: rectangles and words.

use std::fmt::Write as _;

/// A picture that grows line by line.
pub(crate) struct Svg {
    width: u32,
    height: u32,
    title: String,
    lines: String,
}

/// Where words stand at their x.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    End,
}

impl Svg {
    pub(crate) fn new(width: u32, height: u32, title: &str) -> Self {
        Self { width, height, title: escaped(title), lines: String::new() }
    }

    /// A rectangle with what it tells when it is pointed at.
    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str, told: &str) {
        let told = escaped(told);
        let place = format!(r#"x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}""#);
        writeln!(self.lines, r#"<rect {place} fill="{fill}"><title>{told}</title></rect>"#).expect("into a String");
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::End => "end",
        };
        let words = escaped(words);
        writeln!(self.lines, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#)
            .expect("into a String");
    }

    pub(crate) fn finish(self) -> String {
        let Self { width, height, title, lines } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n<title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{lines}</svg>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
