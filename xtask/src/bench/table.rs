//! The table of all figures.

use super::Figures;

/// A row of the table.
struct Row {
    name: &'static str,
    value: fn(&Figures) -> u64,
    goal: Option<u64>,
    /// What was measured of others on the same machine, see `bench/README.md`.
    linux: Option<u64>,
    arceos: Option<u64>,
    hermit: Option<u64>,
}

const M: u64 = 1_000_000;

const ROWS: [Row; 11] = [
    Row {
        name: "reset to `lockstep: ready`",
        value: |figures| figures.ready,
        goal: Some(5 * M),
        linux: Some(925_705_747),
        arceos: Some(35 * M),
        hermit: Some(24 * M),
    },
    Row {
        name: "the same, signatures checked",
        value: |figures| figures.verified,
        goal: None,
        linux: None,
        arceos: None,
        hermit: None,
    },
    Row {
        name: "reset to the first ping answered",
        value: |figures| figures.first_ping,
        goal: Some(11 * M),
        linux: Some(1_159_144_348),
        arceos: None,
        hermit: None,
    },
    Row {
        name: "loading and probing virtio-net",
        value: |figures| figures.module,
        goal: Some(300_000),
        linux: Some(3_304_456),
        arceos: None,
        hermit: None,
    },
    Row {
        name: "one ping answered",
        value: |figures| figures.ping,
        goal: Some(4000),
        linux: Some(13_639),
        arceos: None,
        hermit: None,
    },
    Row {
        name: "one UDP echo",
        value: |figures| figures.udp_echo,
        goal: Some(5000),
        linux: Some(18_972),
        arceos: Some(9676),
        hermit: None,
    },
    Row {
        name: "an idle second, network up",
        value: |figures| figures.idle_second,
        goal: Some(1000),
        linux: Some(111_831),
        arceos: Some(308 * M),
        hermit: Some(0),
    },
    Row {
        name: "memory in use, idle (bytes)",
        value: |figures| figures.memory,
        goal: Some(6 * M),
        linux: Some(67_096_576),
        arceos: None,
        hermit: None,
    },
    Row {
        name: "a call through a handle, more than a bare one",
        value: |figures| figures.basics.call,
        goal: Some(20),
        linux: None,
        arceos: None,
        hermit: None,
    },
    Row {
        name: "a round trip between two threads",
        value: |figures| figures.basics.round_trip,
        goal: Some(1500),
        linux: Some(10_800),
        arceos: None,
        hermit: None,
    },
    Row {
        name: "allocating and freeing 64 bytes",
        value: |figures| figures.basics.allocation,
        goal: None,
        linux: None,
        arceos: None,
        hermit: None,
    },
];

const HEADINGS: [&str; 7] = ["guest instructions", "Lockstep", "spread", "goal", "Linux", "ArceOS", "Hermit"];

/// The medians of Lockstep's runs beside the goals and the others' figures. Those of Linux are earlier ones unless it
/// was measured too.
pub fn compare(lockstep: &[Figures], linux: &[Figures]) -> String {
    let earlier = |value: Option<u64>| value.map_or_else(String::new, |value| format!("({})", number(value)));
    let row = |row: &Row| {
        let (median, spread) = summary(lockstep, row.value);
        let linux = match linux {
            // The basics aren't measured again.
            [_, ..] if row.linux.is_some() && summary(linux, row.value).0 > 0 => number(summary(linux, row.value).0),
            _ => earlier(row.linux),
        };
        [
            row.name.to_owned(),
            number(median),
            if spread == 0 { "exact".to_owned() } else { number(spread) },
            row.goal.map_or_else(String::new, number),
            linux,
            earlier(row.arceos),
            earlier(row.hermit),
        ]
    };
    let mut cells = vec![HEADINGS.map(str::to_owned)];
    cells.extend(ROWS.iter().map(row));
    let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut text = format!(
        "Medians of {} runs; spread is greatest less least; in brackets: measured earlier.\n\n",
        lockstep.len()
    );
    for row in &cells {
        text += &format!("{:w$}", row[0], w = width(0));
        for (column, cell) in row.iter().enumerate().skip(1) {
            text += &format!("  {cell:>w$}", w = width(column));
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

/// The median, and the difference between the greatest and the least.
fn summary(runs: &[Figures], value: fn(&Figures) -> u64) -> (u64, u64) {
    let mut values: Vec<u64> = runs.iter().map(value).collect();
    values.sort_unstable();
    let spread = values.last().zip(values.first()).map_or(0, |(greatest, least)| greatest - least);
    (values.get(values.len() / 2).copied().unwrap_or(0), spread)
}

/// A number with its digits in groups of three.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Basics;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1000, 12_345_678].map(number).each_ref().map(String::as_str)
        );
    }

    #[test]
    fn a_row_shows_median_spread_goal_and_the_earlier_figure_of_linux() {
        let run = |ping| Figures {
            ready: 1,
            verified: 1,
            first_ping: 2,
            module: 3,
            ping,
            udp_echo: 4,
            idle_second: 5,
            memory: 6,
            basics: Basics::default(),
        };
        let table = compare(&[run(3000), run(2000), run(2400)], &[]);
        let row = table.lines().find(|line| line.starts_with("one ping answered ")).unwrap_or_default();
        assert_eq!(row.split_whitespace().skip(3).collect::<Vec<_>>(), ["2,400", "1,000", "4,000", "(13,639)"]);
        let table = compare(&[run(3000)], &[run(24_000)]);
        let row = table.lines().find(|line| line.starts_with("one ping answered ")).unwrap_or_default();
        assert_eq!(row.split_whitespace().skip(3).collect::<Vec<_>>(), ["3,000", "exact", "4,000", "24,000"]);
    }
}
