//! The tables of outcomes in the book.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::machine::Outcome;
use crate::files;

/// What stands around the tables in the page.
const MARKS: (&str, &str) =
    ("<!-- `./x experiments` writes what follows -->\n", "<!-- `./x experiments` has written what precedes -->\n");

/// The rows that belong together.
pub struct Table {
    pub heading: &'static str,
    pub rows: Vec<Row>,
}

/// One experiment, or several of one kind that must all come out the same.
pub struct Row {
    pub experiment: String,
    pub expected: String,
    pub observed: String,
    /// What else was seen, for the reader.
    pub detail: String,
}

impl Row {
    pub fn new(experiment: impl Into<String>, expected: impl Into<String>, observed: impl Into<String>) -> Self {
        let (experiment, expected, observed) = (experiment.into(), expected.into(), observed.into());
        Self { experiment, expected, observed, detail: String::new() }
    }

    /// A row of which the details matter only when it came out otherwise than expected.
    pub fn of(experiment: impl Into<String>, expected: &str, outcome: Outcome) -> Self {
        let detail = if outcome.summary == expected { String::new() } else { outcome.detail };
        Self::new(experiment, expected, outcome.summary).with_detail(detail)
    }

    /// A row for several that must all come out the same, by their names.
    pub fn all(experiment: impl Into<String>, expected: &str, outcomes: &[(String, Outcome)]) -> Self {
        let wrong = outcomes.iter().filter(|(_, outcome)| outcome.summary != expected);
        let wrong: Vec<_> =
            wrong.map(|(name, outcome)| format!("{name}: {} ({})", outcome.summary, outcome.detail)).collect();
        let observed = match (outcomes, wrong.as_slice()) {
            ([], _) => "nothing was tried".to_owned(),
            (_, []) => expected.to_owned(),
            (_, wrong) => wrong.join("; "),
        };
        Self::new(experiment, expected, observed)
    }

    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Whether the outcome was the expected one.
    pub fn holds(&self) -> bool {
        self.observed == self.expected
    }
}

/// The row in one line, for an error.
impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { experiment, expected, observed, detail } = self;
        write!(formatter, "{experiment}: expected \"{expected}\", observed \"{observed}\" ({detail})")
    }
}

/// Puts the tables into a page, in place of those that it has.
pub fn write(page: &Path, tables: &[Table]) -> Result<()> {
    files::update_between(page, MARKS, &format!("{}\n", markdown(tables))).map(|_| ())
}

fn markdown(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        // Writing to a string never fails.
        let _ = write!(text, "\n### {}\n\n| experiment | expected | observed |\n| --- | --- | --- |\n", table.heading);
        for row in &table.rows {
            let mark = if row.holds() { "" } else { "**not as expected:** " };
            let detail = if row.detail.is_empty() { String::new() } else { format!(" ({})", row.detail) };
            let _ = writeln!(text, "| {} | {} | {mark}{}{detail} |", row.experiment, row.expected, row.observed);
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn outcome(name: &str, summary: &str) -> (String, Outcome) {
        (name.to_owned(), Outcome { summary: summary.to_owned(), detail: "why".to_owned() })
    }

    #[test]
    fn a_row_of_several_holds_only_if_all_do() {
        assert!(Row::all("cells", "good", &[outcome("a", "good"), outcome("b", "good")]).holds());
        let row = Row::all("cells", "good", &[outcome("a", "good"), outcome("b", "bad")]);
        assert_eq!((row.holds(), row.observed.as_str()), (false, "b: bad (why)"));
        assert!(!Row::all("cells", "good", &[]).holds());
    }

    #[test]
    fn the_tables_of_a_page_are_replaced_and_nothing_else() {
        let page = tempfile::NamedTempFile::new().unwrap();
        let (begin, end) = MARKS;
        let around = |tables: &str| format!("# Page\n{begin}{tables}{end}The end.\n");
        std::fs::write(page.path(), around("old\n")).unwrap();
        let rows = vec![Row::new("one", "yes", "yes"), Row::new("two", "yes", "no").with_detail("so")];
        write(page.path(), &[Table { heading: "Rows", rows }]).unwrap();
        let tables = "\n### Rows\n\n| experiment | expected | observed |\n| --- | --- | --- |\n\
                      | one | yes | yes |\n| two | yes | **not as expected:** no (so) |\n\n";
        assert_eq!(std::fs::read_to_string(page.path()).unwrap(), around(tables));
    }

    #[test]
    fn a_page_without_the_marks_is_left_alone() {
        let page = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(page.path(), "# Page\n").unwrap();
        assert!(write(page.path(), &[]).is_err());
        assert_eq!(std::fs::read_to_string(page.path()).unwrap(), "# Page\n");
    }
}
