//! Text in columns.

use abi::prelude::*;
use abi::text::printable;
use core::fmt;

/// How wide a column becomes at most; a cell that is wider moves those to its right.
pub const WIDEST: usize = 200;

/// A column's heading, and the side that its cells keep to.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// Text that takes one line of a terminal, whatever it comes from.
pub fn one_line(text: String) -> String {
    printable(text).replace('\n', "\\n")
}

/// Rows of cells under headings, each column as wide as its widest cell.
pub struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row at the end.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(one_line));
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = self.columns.map(|(Column::Left(heading) | Column::Right(heading))| heading.to_owned());
        let rows = || core::iter::once(&headings).chain(&self.rows);
        let mut widths = [0; N];
        for row in rows() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().clamp(*width, WIDEST);
            }
        }
        for row in rows() {
            let cells = row.iter().zip(self.columns).zip(widths).map(|((cell, column), width)| match column {
                Column::Left(_) => format!("{cell:width$}"),
                Column::Right(_) => format!("{cell:>width$}"),
            });
            writeln!(formatter, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_is_too_wide_costs_its_own_row_alone() {
        let mut table = Table::new([Column::Right("Name"), Column::Left("State")]);
        table.row(["x".repeat(1 << 17), "bound".into()]);
        table.row(["short".into(), "bound".into()]);
        let text = table.to_string();
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [WIDEST + 7, (1 << 17) + 7, WIDEST + 7]);
    }

    #[test]
    fn a_cell_takes_one_line_and_moves_nothing_on_a_terminal() {
        let mut table = Table::new([Column::Left("Name"), Column::Left("State")]);
        table.row(["a\x1b[2J\r\nb".into(), "bound".into()]);
        assert_eq!(table.to_string(), "Name             State\na\\u{1b}[2J\\r\\nb  bound\n");
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let mut table = Table::new([Column::Left("Module"), Column::Right("Size"), Column::Left("Used by")]);
        table.row(["net".into(), "65536".into(), String::new()]);
        table.row(["arm-pl011".into(), "4096".into(), "/pl011@9000000".into()]);
        let expected = "Module      Size  Used by\nnet        65536\narm-pl011   4096  /pl011@9000000\n";
        assert_eq!(table.to_string(), expected);
    }
}
