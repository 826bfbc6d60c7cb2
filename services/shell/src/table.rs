//! Text in columns.

use abi::prelude::*;
use core::fmt;

/// A column's heading, and the side that its cells keep to.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
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
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = self.columns.map(|(Column::Left(heading) | Column::Right(heading))| heading.to_owned());
        let rows = || core::iter::once(&headings).chain(&self.rows);
        let mut widths = [0; N];
        for row in rows() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
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
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let mut table = Table::new([Column::Left("Module"), Column::Right("Size"), Column::Left("Used by")]);
        table.row(["net".into(), "65536".into(), String::new()]);
        table.row(["arm-pl011".into(), "4096".into(), "/pl011@9000000".into()]);
        let expected = "Module      Size  Used by\nnet        65536\narm-pl011   4096  /pl011@9000000\n";
        assert_eq!(table.to_string(), expected);
    }
}
