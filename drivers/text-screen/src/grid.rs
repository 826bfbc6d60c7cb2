//! The characters of a screen: the little of a terminal that the shell and its line editor use (ECMA-48).

use abi::prelude::*;
use vte::{Params, Perform};

/// What is shown for a character that the fonts lack.
const REPLACEMENT: u8 = b'?';

/// A control character, though the parser takes it for another.
const DELETE: char = '\x7f';

/// From one tabulator to the next.
const TABULATOR: usize = 8;

/// Rows of characters of ISO 8859-1, and a cursor. What is drawn follows with [`next_change`](Self::next_change).
pub struct Grid {
    columns: usize,
    rows: usize,
    cells: Vec<u8>,
    drawn: Vec<u8>,
    /// All cells before this one are drawn.
    clean: usize,
    row: usize,
    /// It is beyond the last column after a character there, until the next.
    column: usize,
}

impl Grid {
    /// Spaces, all drawn.
    pub fn new(columns: usize, rows: usize) -> Self {
        let cells = vec![b' '; columns * rows];
        Self { columns, rows, drawn: cells.clone(), clean: cells.len(), cells, row: 0, column: 0 }
    }

    /// A character that isn't drawn yet, and its place, counted by lines. It is taken for drawn from now on.
    pub fn next_change(&mut self) -> Option<(usize, u8)> {
        let cells = self.cells.iter().zip(&mut self.drawn).enumerate().skip(self.clean);
        for (place, (cell, drawn)) in cells {
            if cell != drawn {
                *drawn = *cell;
                self.clean = place + 1;
                return Some((place, *cell));
            }
        }
        self.clean = self.cells.len();
        None
    }

    /// The cursor's place; that of the next line's first column if it is beyond the last.
    fn place(&self) -> usize {
        self.row * self.columns + self.column
    }

    fn fill(&mut self, places: core::ops::Range<usize>, character: u8) {
        self.clean = self.clean.min(places.start);
        if let Some(cells) = self.cells.get_mut(places) {
            cells.fill(character);
        }
    }

    fn line_feed(&mut self) {
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        self.cells.copy_within(self.columns.., 0);
        self.clean = 0;
        let end = self.cells.len();
        self.fill(end - self.columns..end, b' ');
    }
}

impl Perform for Grid {
    fn print(&mut self, character: char) {
        if character == DELETE {
            return;
        }
        if self.column == self.columns {
            self.column = 0;
            self.line_feed();
        }
        let shown = match character {
            ' '..='~' | '\u{a0}'..='\u{ff}' => character as u8,
            _ => REPLACEMENT,
        };
        let place = self.place();
        self.fill(place..place + 1, shown);
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.line_feed(),
            b'\r' => self.column = 0,
            b'\x08' => self.column = self.column.saturating_sub(1),
            b'\t' => self.column = ((self.column / TABULATOR + 1) * TABULATOR).min(self.columns - 1),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, parameters: &Params, intermediates: &[u8], _ignore: bool, action: char) {
        if !intermediates.is_empty() {
            return;
        }
        let parameter = |index| parameters.iter().nth(index).and_then(<[u16]>::first).copied().map_or(0, usize::from);
        let (first, count) = (parameter(0), parameter(0).max(1));
        let (last_column, last_row) = (self.columns - 1, self.rows - 1);
        let (place, line, end) = (self.place(), self.row * self.columns, self.cells.len());
        match (action, first) {
            ('A', _) => self.row = self.row.saturating_sub(count),
            ('B', _) => self.row = self.row.saturating_add(count).min(last_row),
            ('C', _) => self.column = self.column.saturating_add(count).min(last_column),
            ('D', _) => self.column = self.column.saturating_sub(count),
            ('H', _) => {
                self.row = (count - 1).min(last_row);
                self.column = (parameter(1).max(1) - 1).min(last_column);
            }
            ('J', 0) => self.fill(place..end, b' '),
            ('J', 2) => self.fill(0..end, b' '),
            ('K', 0) => self.fill(place..line + self.columns, b' '),
            _ => {}
        }
    }
}
